/* SPDX-License-Identifier: GPL-2.0-only */
/* The entrance of the mode observe: tracepoints. */
#pragma once

/* Idle tasks, and those that the active mode would not get either. */
static __always_inline bool foreign(struct task_struct *p)
{
	u32 policy = p->policy;

	return !p->pid || policy == SCHED_FIFO_POLICY || policy == SCHED_RR_POLICY || policy == SCHED_DEADLINE_POLICY;
}

/* Where the waker runs; the wake-up itself may be finished on another processor. */
SEC("tp_btf/sched_waking")
int BPF_PROG(observe_waking, struct task_struct *p)
{
	struct lichen_task *task = bpf_task_storage_get(&tasks, p, 0, 0);

	if (task && task->state == LICHEN_BLOCKED)
		woken_by(task, bpf_get_current_task_btf());
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(observe_wakeup, struct task_struct *p)
{
	struct lichen_task *task = foreign(p) ? NULL : state_of(p);

	/* Of a task that had not yet left its processor, nothing ended and nothing begins. */
	if (task)
		woke(p, task, bpf_ktime_get_ns(), task->state == LICHEN_BLOCKED);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(observe_wakeup_new, struct task_struct *p)
{
	struct lichen_task *task = foreign(p) ? NULL : state_of(p);

	if (task) {
		woken_by(task, bpf_get_current_task_btf());
		woke(p, task, bpf_ktime_get_ns(), true);
	}
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(observe_switch, bool preempted, struct task_struct *prev, struct task_struct *next, unsigned int state)
{
	u64 now = bpf_ktime_get_ns();
	struct lichen_task *task = foreign(prev) ? NULL : state_of(prev);
	bool blocks = state && !preempted;

	if (task) {
		ended(task, now, !blocks);
		if (blocks)
			blocked(prev, task, now);
		else
			tell(prev, task);
	}
	task = foreign(next) ? NULL : state_of(next);
	if (task)
		began(next, task, now);
	return 0;
}

/* In both modes; it does something only while bursts are recorded or replayed. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(both_fork, struct task_struct *parent, struct task_struct *child)
{
	forked(parent, child);
	return 0;
}
