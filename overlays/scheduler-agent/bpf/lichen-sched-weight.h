/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Weights of cgroups, flattened: a task's effective weight is its own times, at every level above it, the cgroup's
 * weight over the sum of the weights of what is runnable in it. Only of the active mode.
 */
#pragma once

/* Of deeper cgroups the rest counts as their ancestor at this distance. */
#define LEVELS 16
/* How old a cgroup's factor may be: with every wake-up somewhere it changes a little. */
#define FACTOR_NS 2000000
#define FACTOR_BITS 20
#define FACTOR_MOST (1ull << 34)
/* Effective weights have eight fractional bits; 100 is that of nice 0 in the root. */
#define NOMINAL (100u << 8)
#define WEIGHT_LEAST 16u
#define WEIGHT_MOST (10000u << 8)

struct lichen_group {
	struct bpf_spin_lock lock;
	u32 weight;
	s64 sum;        /* of weights of runnable tasks and of child cgroups that have such */
	u64 parent;     /* its number; 0: this is the root */
	u32 counted;    /* what of this cgroup's weight is in the parent's sum */
	u32 pad;
	u64 factor;     /* what a weight in it counts for in the root, FACTOR_BITS fractional bits */
	u64 factor_time;
};

/* By cgroups' numbers. Tasks of cgroups that find no room here count as if they were in the root. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct lichen_group);
} groups SEC(".maps");

/*
 * Adds a weight, maybe a negative one, to what is runnable in a cgroup, and to its ancestors' when that begins or
 * ends. Several processors may do so at once, each level for itself: a sum can be below zero for a moment, and since
 * only its crossing zero is told to the parent, the order does not matter.
 */
static __always_inline void add_weight(u64 number, s64 delta)
{
	for (int level = 0; level < LEVELS && number && delta; level++) {
		struct lichen_group *group = bpf_map_lookup_elem(&groups, &number);
		s64 above = 0;

		if (!group)
			return;
		bpf_spin_lock(&group->lock);
		if (group->sum <= 0 && group->sum + delta > 0) {
			group->counted = group->weight;
			above = group->weight;
		} else if (group->sum > 0 && group->sum + delta <= 0) {
			above = -(s64)group->counted;
			group->counted = 0;
		}
		group->sum += delta;
		bpf_spin_unlock(&group->lock);
		number = group->parent;
		delta = above;
	}
}

static __always_inline void change_weight(u64 number, u32 weight)
{
	struct lichen_group *group = bpf_map_lookup_elem(&groups, &number);
	s64 delta = 0;

	if (!group)
		return;
	bpf_spin_lock(&group->lock);
	if (group->counted) {
		delta = (s64)weight - group->counted;
		group->counted = weight;
	}
	group->weight = weight;
	bpf_spin_unlock(&group->lock);
	add_weight(group->parent, delta);
}

static __always_inline u64 compute_factor(u64 number)
{
	u64 factor = 1ull << FACTOR_BITS;

	for (int level = 0; level < LEVELS && number; level++) {
		struct lichen_group *group = bpf_map_lookup_elem(&groups, &number);
		s64 sum;

		if (!group)
			break;
		number = group->parent;
		if (!number)
			break;
		sum = *(volatile s64 *)&group->sum;
		factor = factor * group->weight / (sum > 0 ? sum : 1);
		if (factor > FACTOR_MOST)
			factor = FACTOR_MOST;
	}
	return factor;
}

static __always_inline u32 effective_weight(u32 weight, u64 number, u64 now)
{
	struct lichen_group *group = bpf_map_lookup_elem(&groups, &number);
	u64 effective = (u64)weight << 8;

	if (group) {
		if (now - group->factor_time > FACTOR_NS) {
			group->factor = compute_factor(number);
			group->factor_time = now;
		}
		effective = weight * group->factor >> (FACTOR_BITS - 8);
	}
	return effective < WEIGHT_LEAST ? WEIGHT_LEAST : effective > WEIGHT_MOST ? WEIGHT_MOST : effective;
}

/* Virtual time of real time. */
static __always_inline u64 scaled(u64 ns, u32 effective)
{
	return ns * NOMINAL / (effective ? effective : 1);
}

static __always_inline u64 number_of(struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, kn, id);
}

static __always_inline u64 parent_of(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *above = BPF_CORE_READ(cgroup, self.parent);

	if (!above)
		return 0;
	return number_of((struct cgroup *)((void *)above - bpf_core_field_offset(struct cgroup, self)));
}
