// Convolutions with fewer products, by Winograd's minimal filtering; what `winograd.cc` offers.

#ifndef MEDJAX_NATIVE_WINOGRAD_H_
#define MEDJAX_NATIVE_WINOGRAD_H_

#include "product.h"

// Whether it takes less time than the plain sum: there are no strides, kernels are 3 to 5 wide,
// channels and tiles enough, and half the products at most.
bool WinogradPays(const Sizes& s);

void WinogradForward(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                     const float* kernel, float* out);

void WinogradKernelGradient(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                            const float* gradient, float* out);

#endif  // MEDJAX_NATIVE_WINOGRAD_H_
