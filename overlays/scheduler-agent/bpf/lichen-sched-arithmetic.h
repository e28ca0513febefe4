/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arithmetic in fixed point, without anything of the kernel: tests compile it for the host, and layout.py gives the
 * same integers. A shift of a negative number to the right rounds down, as in Python.
 */
#pragma once

#include "lichen-sched.h"

/* Q8 logarithm, rounded down; 0 of 0. */
static __always_inline __s32 lichen_log2(__u64 value)
{
	__u32 exponent = 0;
	__u64 rest = value;

	if (value <= 1)
		return 0;
#pragma unroll
	for (int step = 32; step; step >>= 1) {
		if (rest >> step) {
			rest >>= step;
			exponent += step;
		}
	}
	/* In 31 fractional bits, from 1 to below 2; each squaring tells the next bit of the logarithm. */
	rest = exponent > 31 ? value >> ((exponent - 31) & 63) : value << ((31 - exponent) & 63);
#pragma unroll
	for (int bit = 0; bit < LICHEN_FRACTION; bit++) {
		rest = rest * rest >> 31;
		exponent = exponent << 1 | (__u32)(rest >> 32);
		rest >>= rest >> 32;
	}
	return exponent;
}

/* Nanoseconds of a Q8 logarithm from 0 to below 47 * 256, within a thousandth. */
static __always_inline __u64 lichen_exp2(__u32 logarithm)
{
	__u64 result = 1 << 16;

	/* 2 ** (2 ** -k) in 16 fractional bits */
	if (logarithm & 128)
		result = result * 92682 >> 16;
	if (logarithm & 64)
		result = result * 77936 >> 16;
	if (logarithm & 32)
		result = result * 71468 >> 16;
	if (logarithm & 16)
		result = result * 68438 >> 16;
	if (logarithm & 8)
		result = result * 66971 >> 16;
	if (logarithm & 4)
		result = result * 66250 >> 16;
	if (logarithm & 2)
		result = result * 65892 >> 16;
	if (logarithm & 1)
		result = result * 65714 >> 16;
	return result << (logarithm >> LICHEN_FRACTION & 63) >> 16;
}

/* An average after one more, which counts a quarter. */
static __always_inline __s32 lichen_ewma(__s32 average, __s32 new)
{
	return average + ((new - average) >> 2);
}

static __always_inline __s32 lichen_clamp(__s32 logarithm)
{
	return logarithm < LICHEN_LEAST ? LICHEN_LEAST : logarithm > LICHEN_MOST ? LICHEN_MOST : logarithm;
}

/* Which bucket of the histogram a delay counts in. */
static __always_inline __u32 lichen_bucket(__u64 delay_ns)
{
	__u64 micros = delay_ns / 1000, quarters = delay_ns * 4 / 1000;
	__u32 exponent = 0, bucket;

	if (!micros)
		return 0;
#pragma unroll
	for (int step = 32; step; step >>= 1) {
		if (micros >> step) {
			micros >>= step;
			exponent += step;
		}
	}
	bucket = 4 * exponent + (__u32)(quarters >> (exponent & 63)) - 4;
	return bucket < LICHEN_BUCKETS ? bucket : LICHEN_BUCKETS - 1;
}

/* The leaf that a tree sends the features to; they have room for 16, so that any number of one is one of theirs. */
static __always_inline __s32 lichen_leaf(const struct lichen_tree *tree, const __s32 *features)
{
	__u32 at = 0;

	for (int depth = 0; depth < LICHEN_DEPTH; depth++) {
		const struct lichen_node *node = &tree->nodes[at & (LICHEN_NODES - 1)];

		if (node->leaf)
			break;
		at = features[node->feature & 15] <= node->threshold ? node->left : node->right;
	}
	return tree->nodes[at & (LICHEN_NODES - 1)].value;
}

/* The identity of a task's child, never 0. */
static __always_inline __u64 lichen_child(__u64 identity, __u32 number)
{
	__u64 mixed = (identity ^ number) * 0x9e3779b97f4a7c15ULL + number;

	return (mixed ^ mixed >> 29) | 1;
}
