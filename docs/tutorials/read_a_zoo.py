# %% [markdown]
# # read_a_zoo

# %%
print(1)
