"""`python -m meta_train` is the command `nfn-optim`."""

if __name__ == "__main__":
    from .commands import main

    main()
