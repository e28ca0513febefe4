/* SPDX-License-Identifier: GPL-2.0-only */
/* What a task's next burst is expected to be. */
#pragma once

static __always_inline void identify(struct task_struct *p, struct lichen_task *task)
{
	u32 pid = p->pid;
	u64 *root;

	if (task->identity)
		return;
	root = bpf_map_lookup_elem(&roots, &pid);
	if (root) {
		task->identity = *root;
		task->sequence = task->children = 0;
	}
}

/* Of tasks outside of the recorded tree, and of bursts that were not recorded, it knows no more than EWMA does. */
static __always_inline s32 recalled(struct lichen_control *now, struct lichen_task *task)
{
	struct lichen_recorded key = {.identity = task->identity, .sequence = task->sequence + 1};
	u64 *burst = task->identity ? bpf_map_lookup_elem(&oracle, &key) : NULL;

	if (burst)
		return lichen_log2(*burst);
	if (task->identity)
		count(LICHEN_MISSES);
	return task->sequence ? task->ewma : lichen_log2(now->constant_ns);
}

static __always_inline s32 ensemble(struct lichen_control *now, u32 slot, const s32 *features)
{
	u32 chosen = slot & (LICHEN_SLOTS - 1), total = now->trees[chosen];
	s32 sum = now->base[chosen];

	for (u32 i = 0; i < LICHEN_TREES; i++) {
		u32 key = chosen * LICHEN_TREES + i;
		struct lichen_tree *tree;

		if (i >= total)
			break;
		tree = bpf_map_lookup_elem(&trees, &key);
		if (!tree)
			break;
		sum += lichen_leaf(tree, features);
	}
	return sum;
}

/* Once for each burst. */
static __always_inline void predict(struct lichen_control *now, struct lichen_task *task)
{
	/* In one access: the agent changes both at once. */
	u64 both = *(volatile u64 *)&now->predictor;
	u32 predictor = both, slot = both >> 32;
	s32 guess;

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error the word above is read the other way round
#endif
	if (predictor == LICHEN_ORACLE)
		guess = recalled(now, task);
	else if (predictor == LICHEN_CONSTANT || !task->sequence)
		guess = lichen_log2(now->constant_ns);
	else if (predictor == LICHEN_LAST)
		guess = task->last;
	else if (predictor == LICHEN_EWMA)
		guess = task->ewma;
	else
		guess = ensemble(now, slot, task->features);
	task->predicted = lichen_clamp(guess);
	task->predicted_ns = lichen_exp2(task->predicted);
	task->generation = now->generation;
	count(LICHEN_PREDICTIONS);
}

static __always_inline void describe(struct task_struct *p, struct lichen_task *task, s32 sleep)
{
	s32 *features = task->features;

	features[LICHEN_F_LAST] = task->last;
	features[LICHEN_F_BEFORE_LAST] = task->before_last;
	features[LICHEN_F_EWMA] = task->ewma;
	features[LICHEN_F_DEVIATION] = task->deviation;
	features[LICHEN_F_SLEEP] = sleep;
	features[LICHEN_F_SLEEP_EWMA] = task->sleep_ewma;
	features[LICHEN_F_WAKES] = lichen_log2(task->wakes);
	features[LICHEN_F_PREEMPTED] = task->preempted;
	features[LICHEN_F_WAKER_EWMA] = task->waker;
	features[LICHEN_F_NICE] = p->policy == SCHED_IDLE_POLICY ? 20 : p->static_prio - 120;
	features[LICHEN_F_KERNEL] = !!(p->flags & PF_KERNEL_THREAD);
	features[LICHEN_F_THREADS] = lichen_log2(p->signal->nr_threads);
}
