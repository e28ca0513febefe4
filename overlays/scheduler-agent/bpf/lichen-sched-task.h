/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens to a task: both entrances keep its bursts and waits by these functions. */
#pragma once

/* Remembers who runs where a task is woken. */
static __always_inline void woken_by(struct lichen_task *task, struct task_struct *waker)
{
	struct lichen_task *other = waker->pid ? bpf_task_storage_get(&tasks, waker, 0, 0) : NULL;

	task->waker = other ? other->ewma : 0;
}

/* Whether a burst that begins will be told: all of a recorded task, of the others some. */
static __always_inline bool chosen(struct lichen_control *settings, struct lichen_task *task)
{
	if (settings->record && task->identity)
		return true;
	return settings->sample_every && bpf_get_prandom_u32() % settings->sample_every == 0;
}

/*
 * A task becomes runnable. ``begins``: a burst begins, because it was woken or is new; otherwise it only came here,
 * from another class for example, and its burst is not a whole one.
 */
static __always_inline void woke(struct task_struct *p, struct lichen_task *task, u64 now, bool begins)
{
	struct lichen_control *settings = controls();
	s32 sleep = 0;

	if (!settings || task->state == LICHEN_WAITING || task->state == LICHEN_RUNNING)
		return;
	if (task->state == LICHEN_BLOCKED) {
		sleep = lichen_log2(now - task->since);
		task->sleep_ewma = task->sleep_ewma ? lichen_ewma(task->sleep_ewma, sleep) : sleep;
	}
	task->state = LICHEN_WAITING;
	task->since = now;
	task->burst = 0;
	task->partial = !begins;
	task->wakes++;
	if (settings->record || settings->predictor == LICHEN_ORACLE)
		identify(p, task);
	task->sampled = chosen(settings, task);
	if (task->sampled || settings->predictor == LICHEN_TREES_SUM)
		describe(p, task, sleep);
	predict(settings, task);
	count(LICHEN_WAKEUPS);
}

static __always_inline void measure(struct lichen_task *task, u64 delay)
{
	u32 key = lichen_bucket(delay);
	u64 *value = bpf_map_lookup_elem(&delays, &key);

	if (value)
		*value += 1;
	key = LICHEN_LONGEST_NS;
	value = bpf_map_lookup_elem(&counters, &key);
	if (value && *value < delay)
		*value = delay;
	task->waited += delay;
	if (task->longest < delay)
		task->longest = delay;
}

/* A task gets a processor. */
static __always_inline void began(struct task_struct *p, struct lichen_task *task, u64 now)
{
	u32 place = bpf_get_smp_processor_id() + 1, zero = 0, pid = p->pid, *before = bpf_map_lookup_elem(&lately, &zero);

	if (task->state == LICHEN_WAITING) {
		/* Two processors' clocks may differ a little. */
		measure(task, now > task->since ? now - task->since : 0);
	} else {
		task->burst = 0;
		task->partial = 1;
	}
	if (before && *before != pid) {
		*before = pid;
		count(LICHEN_SWITCHES);
	}
	if (task->place && task->place != place)
		count(LICHEN_MIGRATIONS);
	task->place = place;
	task->state = LICHEN_RUNNING;
	task->since = now;
}

/* A task leaves its processor; ``wanted``: it would have gone on. Whether it blocks comes after, by blocked(). */
static __always_inline void ended(struct lichen_task *task, u64 now, bool wanted)
{
	u64 ran;

	if (task->state != LICHEN_RUNNING)
		return;
	ran = now > task->since ? now - task->since : 0;
	task->burst += ran;
	task->ran += ran;
	task->state = LICHEN_WAITING;
	task->since = now;
	task->preempted = lichen_ewma(task->preempted, wanted ? 256 : 0);
	if (wanted)
		count(LICHEN_INVOLUNTARY);
}

static __always_inline u32 weight_of_group(struct task_struct *p)
{
	struct task_group___lichen *group = (void *)p->sched_task_group;

	/* The kernel keeps 100 as 1024, with ten more bits. */
	if (!group || !bpf_core_field_exists(group->shares))
		return 100;
	return ((group->shares >> 10) * 100 + 512) / 1024;
}

static __always_inline u64 cgroup_of(struct task_struct *p)
{
	return p->cgroups->dfl_cgrp->kn->id;
}

/* Finding a share costs more than what a burst of a few microseconds should: of each task so much may be missing. */
#define TELL_NS 4000000ull
#define TELL_BURSTS 16

/* Adds to the share of a task's owner what was not yet, when it has become enough or the task ends. */
static __always_inline void tell(struct task_struct *p, struct lichen_task *task)
{
	struct lichen_owner owner = {};
	struct lichen_share *share;

	if (task->ran < TELL_NS && task->waited < TELL_NS && task->untold < TELL_BURSTS && !p->exit_state)
		return;
	owner.cgroup = cgroup_of(p);
	owner.uid = p->cred->uid.val;
	share = bpf_map_lookup_elem(&shares, &owner);
	if (!share) {
		struct lichen_share none = {};

		bpf_map_update_elem(&shares, &owner, &none, BPF_NOEXIST);
		share = bpf_map_lookup_elem(&shares, &owner);
		if (!share)
			return;
	}
	__sync_fetch_and_add(&share->ran_ns, task->ran);
	__sync_fetch_and_add(&share->waited_ns, task->waited);
	if (share->longest_ns < task->longest)
		share->longest_ns = task->longest;
	__sync_fetch_and_add(&share->bursts, task->untold);
	__sync_fetch_and_add(&share->error, task->error);
	__sync_fetch_and_add(&share->bias, task->bias);
	share->weight = weight_of_group(p);
	task->ran = task->waited = task->longest = task->error = task->bias = task->untold = 0;
}

static __always_inline void emit(struct task_struct *p, struct lichen_task *task, u64 now)
{
	struct lichen_sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);

	if (!sample) {
		count(LICHEN_LOST);
		return;
	}
	sample->time_ns = now;
	sample->burst_ns = task->burst;
	sample->cgroup = cgroup_of(p);
	sample->identity = task->identity;
	sample->generation = task->generation;
	sample->sequence = task->sequence;
	sample->pid = p->pid;
	sample->uid = p->cred->uid.val;
	sample->predicted = task->predicted;
	__builtin_memcpy(sample->features, task->features, sizeof(sample->features));
	__builtin_memcpy(sample->comm, p->comm, sizeof(sample->comm));
	/* The agent looks by itself now and then: waking it for each sample would cost more than the sample. */
	bpf_ringbuf_submit(sample, bpf_ringbuf_query(&samples, BPF_RB_AVAIL_DATA) * 2 >
						   bpf_ringbuf_query(&samples, BPF_RB_RING_SIZE)
					   ? BPF_RB_FORCE_WAKEUP
					   : BPF_RB_NO_WAKEUP);
	count(LICHEN_SAMPLES);
}

static __always_inline void learn(struct lichen_task *task, s32 actual)
{
	s32 off = actual - task->ewma;

	if (task->sequence) {
		task->deviation = lichen_ewma(task->deviation, off < 0 ? -off : off);
		task->ewma = lichen_ewma(task->ewma, actual);
	} else {
		task->ewma = actual;
	}
	task->before_last = task->last;
	task->last = actual;
}

/* A task blocks after ended(): its burst is over. */
static __always_inline void blocked(struct task_struct *p, struct lichen_task *task, u64 now)
{
	struct lichen_control *settings = controls();
	bool whole = task->state == LICHEN_WAITING && !task->partial;
	s32 actual, off;

	task->state = LICHEN_BLOCKED;
	task->since = now;
	if (whole && settings) {
		actual = lichen_log2(task->burst);
		off = task->predicted - actual;
		task->error += off < 0 ? -off : off;
		task->bias += off;
		task->untold++;
		learn(task, actual);
		task->sequence++;
		if (task->sampled)
			emit(p, task, now);
	}
	tell(p, task);
}

/* A child of a task with an identity gets its own. */
static __always_inline void forked(struct task_struct *parent, struct task_struct *child)
{
	struct lichen_control *settings = controls();
	struct lichen_task *mother, *task;

	if (!settings || (!settings->record && settings->predictor != LICHEN_ORACLE))
		return;
	mother = state_of(parent);
	if (!mother)
		return;
	identify(parent, mother);
	if (!mother->identity)
		return;
	task = state_of(child);
	if (task)
		task->identity = lichen_child(mother->identity, ++mother->children);
}
