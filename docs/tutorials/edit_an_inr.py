# %% [markdown]
# # edit_an_inr

# %%
print(1)
