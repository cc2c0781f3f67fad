// Lanes of two registers in a new order, with every compiler.
#pragma once

// Lanes of `a` count from zero, those of `b` count on; `Places` is a register of as many integers.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define NFN_SHUFFLE(Places, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef NFN_SHUFFLE
#define NFN_SHUFFLE(Places, a, b, ...) __builtin_shuffle(a, b, Places{__VA_ARGS__})
#endif
