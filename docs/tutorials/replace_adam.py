# %% [markdown]
# # replace_adam

# %%
print(1)
