// Convolutions with fewer products, by Winograd's minimal filtering; what `winograd.cc` offers.

#ifndef MEDJAX_NATIVE_WINOGRAD_H_
#define MEDJAX_NATIVE_WINOGRAD_H_

#include "product.h"

// Whether it is worth its transforms: without strides, of kernels 3 to 5 wide and enough channels,
// and for the gradient enough pixels.
bool WinogradPays(const Sizes& s);
bool WinogradGradientPays(const Sizes& s);

void WinogradForward(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                     const float* kernel, float* out);

void WinogradKernelGradient(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                            const float* gradient, float* out);

#endif  // MEDJAX_NATIVE_WINOGRAD_H_
