# %% [markdown]
# # meta_train_your_own

# %%
print(1)
