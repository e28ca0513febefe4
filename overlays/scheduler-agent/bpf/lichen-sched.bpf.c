// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler's programs. They have two entrances, of which the agent attaches one at a time:
 *
 *  - observe: tracepoints, on any kernel with BTF. The kernel's own scheduler decides, and is measured.
 *  - active: a scheduler of sched_ext for all tasks of the policies other, batch and idle. Those of real-time and
 *    deadline policies run before it, as before: they are in classes above and never come here.
 *
 * Both keep the same statistics and predict the same bursts.
 */
#define BPF_NO_KFUNC_PROTOTYPES
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Macros of the kernel, which no vmlinux.h carries. */
#define PF_KERNEL_THREAD 0x00200000 /* PF_KTHREAD */
#define SCHED_FIFO_POLICY 1
#define SCHED_RR_POLICY 2
#define SCHED_BATCH_POLICY 3
#define SCHED_IDLE_POLICY 5
#define SCHED_DEADLINE_POLICY 6

#include "lichen-sched.h"
#include "lichen-sched-arithmetic.h"
#include "lichen-sched-kernel.h"
#include "lichen-sched-state.h"
#include "lichen-sched-predict.h"
#include "lichen-sched-task.h"
#include "lichen-sched-observe.h"
#include "lichen-sched-weight.h"
#include "lichen-sched-queue.h"

char LICENSE[] SEC("license") = "GPL";

/* The rest of this file is the entrance of the mode active. */

/* Here the waker runs: wake-ups are not handed over to other processors, for the scheduler does not ask for that. */
static __always_inline void arrive(struct task_struct *p, struct lichen_task *task, u64 now)
{
	bool begins = task->state == LICHEN_BLOCKED || (task->fresh && task->state == LICHEN_UNKNOWN);

	if (begins)
		woken_by(task, bpf_get_current_task_btf());
	woke(p, task, now, begins);
}

SEC("struct_ops/lichen_select_cpu")
s32 BPF_PROG(lichen_select_cpu, struct task_struct *p, s32 previous, u64 flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, previous, flags, &idle);
	struct lichen_control *settings = controls();
	struct lichen_task *task = state_of(p);
	u64 now = bpf_ktime_get_ns();

	if (!task || !settings)
		return cpu;
	arrive(p, task, now);
	if (idle) {
		task->queued = 0;
		insert_local(p, request_of(settings, task, now));
		count(LICHEN_DIRECT);
	}
	return cpu;
}

SEC("struct_ops/lichen_runnable")
void BPF_PROG(lichen_runnable, struct task_struct *p, u64 flags)
{
	struct lichen_task *task = state_of(p);
	u64 now = bpf_ktime_get_ns();

	if (!task)
		return;
	/* Of tasks that may run on one processor only, select_cpu is not asked. */
	arrive(p, task, now);
	task->fresh = 0;
	count_in(p, task, now);
}

static __always_inline bool forgotten(struct task_struct *p)
{
	if (!machine.stall[0])
		return false;
	for (u32 i = 0; i < sizeof(machine.stall); i++) {
		if (machine.stall[i] != p->comm[i])
			return false;
		if (!machine.stall[i])
			return true;
	}
	return true;
}

SEC("struct_ops/lichen_enqueue")
void BPF_PROG(lichen_enqueue, struct task_struct *p, u64 flags)
{
	struct lichen_control *settings = controls();
	struct lichen_task *task = state_of(p);
	s32 cpu = scx_bpf_task_cpu(p), idle;
	u32 number = queue_for(p, cpu);
	u64 now = bpf_ktime_get_ns();

	if (forgotten(p))
		return;
	if (!task || !settings) {
		insert_ordered(p, number, ROUND_NS / 10, 0, flags);
		return;
	}
	settle(settings, p, task, number, now);
	task->queued = 1;
	insert_ordered(p, number, slice_of(settings, request_of(settings, task, now), number), task->deadline, flags);
	count(LICHEN_QUEUED);
	if (number >= LICHEN_NUMA)
		idle = scx_bpf_test_and_clear_cpu_idle(cpu) ? cpu : -1;
	else
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (idle >= 0) {
		scx_bpf_kick_cpu(idle, KICK_IDLE);
	} else if ((flags & ENQUEUE_WOKEN) && preempts(settings, p, task, cpu)) {
		scx_bpf_kick_cpu(cpu, KICK_PREEMPT);
		count(LICHEN_KICKS);
	}
}

SEC("struct_ops/lichen_dispatch")
void BPF_PROG(lichen_dispatch, s32 cpu, struct task_struct *prev)
{
	struct lichen_control *settings = controls();
	struct lichen_processor *here = processor_at(cpu);
	struct lichen_task *task = NULL;
	u64 now = bpf_ktime_get_ns();
	bool keep = false, due;
	u32 node = node_of(cpu);

	if (!settings || !here)
		return;
	if (prev && (entity(prev)->flags & QUEUED_FLAG))
		task = bpf_task_storage_get(&tasks, prev, 0, 0);
	if (task && task->state == LICHEN_RUNNING) {
		charge(prev, task, cpu, now);
		settle(settings, prev, task, queue_for(prev, cpu), now);
	}
	if (rescue(node, cpu, now) || rescue(QUEUE_OF_CPU(cpu), cpu, now))
		return;
	due = machine.nodes > 1 && now - here->balanced > BALANCE_EVERY_NS;
	if (due) {
		here->balanced = now;
		if (steal(node, false))
			return;
	}
	if (serve_both(settings, task, cpu, node, &keep) && !keep)
		return;
	if (!keep && steal(node, true))
		return;
	if (!task)
		return;
	set_slice(prev, slice_of(settings, request_of(settings, task, now), task->queue));
	follow(task, here, true);
}

SEC("struct_ops/lichen_running")
void BPF_PROG(lichen_running, struct task_struct *p)
{
	struct lichen_task *task = state_of(p);
	s32 cpu = scx_bpf_task_cpu(p);
	struct lichen_processor *here = processor_at(cpu);
	struct lichen_control *settings = controls();
	u64 now = bpf_ktime_get_ns();

	if (!task || !here || !settings)
		return;
	began(p, task, now);
	task->charged = now;
	if (!task->queued)
		settle(settings, p, task, queue_for(p, cpu), now);
	follow(task, here, task->queued || !scx_bpf_dsq_nr_queued(task->queue));
}

SEC("struct_ops/lichen_stopping")
void BPF_PROG(lichen_stopping, struct task_struct *p, bool runnable)
{
	struct lichen_task *task = state_of(p);
	s32 cpu = scx_bpf_task_cpu(p);
	struct lichen_processor *here = processor_at(cpu);
	u64 now = bpf_ktime_get_ns();

	if (here)
		here->queue = NOBODY;
	if (!task || task->state != LICHEN_RUNNING)
		return;
	charge(p, task, cpu, now);
	ended(task, now, runnable);
	if (runnable)
		tell(p, task);
}

SEC("struct_ops/lichen_quiescent")
void BPF_PROG(lichen_quiescent, struct task_struct *p, u64 flags)
{
	struct lichen_task *task = state_of(p);

	if (!task)
		return;
	count_out(task);
	if (flags & DEQUEUE_SLEEPS)
		blocked(p, task, bpf_ktime_get_ns());
}

SEC("struct_ops.s/lichen_init_task")
s32 BPF_PROG(lichen_init_task, struct task_struct *p, struct scx_init_task_args___lichen *args)
{
	struct lichen_task *task = state_of(p);
	struct lichen_queue *queue = queue_at(0);

	/* Without memory a task goes unmeasured; refusing would make fork() fail. */
	if (!task || !queue)
		return 0;
	task->fresh = args->fork;
	task->counted = task->counted_effective = 0;
	task->queued = 0;
	task->queue = 0;
	task->vtime = queue->vtime;
	task->cgroup = bpf_core_field_exists(args->cgroup) ? number_of(args->cgroup) : 0;
	return 0;
}

SEC("struct_ops.s/lichen_cgroup_init")
s32 BPF_PROG(lichen_cgroup_init, struct cgroup *cgroup, struct scx_cgroup_init_args___lichen *args)
{
	u64 number = number_of(cgroup);
	struct lichen_group group = {.weight = args->weight, .parent = parent_of(cgroup)};

	/* Without room it counts as the root: refusing would make mkdir() fail. */
	bpf_map_update_elem(&groups, &number, &group, BPF_ANY);
	return 0;
}

SEC("struct_ops/lichen_cgroup_exit")
void BPF_PROG(lichen_cgroup_exit, struct cgroup *cgroup)
{
	u64 number = number_of(cgroup);

	bpf_map_delete_elem(&groups, &number);
}

/* The task is in no queue meanwhile: its weight was counted out, and will be counted in there. */
SEC("struct_ops/lichen_cgroup_move")
void BPF_PROG(lichen_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct lichen_task *task = state_of(p);

	if (task)
		task->cgroup = number_of(to);
}

SEC("struct_ops/lichen_cgroup_set_weight")
void BPF_PROG(lichen_cgroup_set_weight, struct cgroup *cgroup, u32 weight)
{
	change_weight(number_of(cgroup), weight);
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct lichen_ending);
} ending SEC(".maps");

static __always_inline s32 make_queue(u32 number, s32 node)
{
	struct lichen_queue *queue = queue_at(number);

	if (queue) {
		queue->vtime = 0;
		queue->weight = queue->bound = 0;
		queue->looked = 0;
	}
	return scx_bpf_create_dsq(number, node);
}

SEC("struct_ops.s/lichen_init")
s32 BPF_PROG(lichen_init)
{
	s32 failed = 0;

	for (u32 node = 0; node < LICHEN_NUMA && node < machine.nodes && !failed; node++)
		failed = make_queue(node, machine.size[node] ? (s32)node : -1);
	for (u32 cpu = 0; cpu < LICHEN_CPUS && cpu < machine.cpus && !failed; cpu++) {
		struct lichen_processor *here = processor_at(cpu);

		if (here) {
			here->queue = NOBODY;
			here->pass[0] = here->pass[1] = here->balanced = 0;
		}
		failed = make_queue(QUEUE_OF_CPU(cpu), -1);
	}
	return failed;
}

SEC("struct_ops.s/lichen_exit")
void BPF_PROG(lichen_exit, struct scx_exit_info___lichen *info)
{
	u32 zero = 0;
	struct lichen_ending *end = bpf_map_lookup_elem(&ending, &zero);

	if (!end)
		return;
	bpf_probe_read_kernel_str(end->reason, sizeof(end->reason), BPF_CORE_READ(info, reason));
	bpf_probe_read_kernel_str(end->message, sizeof(end->message), BPF_CORE_READ(info, msg));
	end->code = BPF_CORE_READ(info, exit_code);
	end->kind = BPF_CORE_READ(info, kind);
}

/*
 * A task that waits ten seconds for a processor ends the scheduler, and the kernel's own takes over. The bound is
 * far above what rescue() allows (about a second), so it means a fault and not a load; the kernel allows thirty at
 * most.
 */
#define TIMEOUT_MS 10000

SEC(".struct_ops.link")
struct sched_ext_ops___lichen lichen = {
	.select_cpu = (void *)lichen_select_cpu,
	.enqueue = (void *)lichen_enqueue,
	.dispatch = (void *)lichen_dispatch,
	.runnable = (void *)lichen_runnable,
	.running = (void *)lichen_running,
	.stopping = (void *)lichen_stopping,
	.quiescent = (void *)lichen_quiescent,
	.init_task = (void *)lichen_init_task,
	.cgroup_init = (void *)lichen_cgroup_init,
	.cgroup_exit = (void *)lichen_cgroup_exit,
	.cgroup_move = (void *)lichen_cgroup_move,
	.cgroup_set_weight = (void *)lichen_cgroup_set_weight,
	.init = (void *)lichen_init,
	.exit = (void *)lichen_exit,
	.timeout_ms = TIMEOUT_MS,
	.name = "lichen",
};

/* For kernels without CONFIG_EXT_GROUP_SCHED, which know no cgroup's weight: the same by nice values alone. */
SEC(".struct_ops.link")
struct sched_ext_ops___lichen lichen_flat = {
	.select_cpu = (void *)lichen_select_cpu,
	.enqueue = (void *)lichen_enqueue,
	.dispatch = (void *)lichen_dispatch,
	.runnable = (void *)lichen_runnable,
	.running = (void *)lichen_running,
	.stopping = (void *)lichen_stopping,
	.quiescent = (void *)lichen_quiescent,
	.init_task = (void *)lichen_init_task,
	.init = (void *)lichen_init,
	.exit = (void *)lichen_exit,
	.timeout_ms = TIMEOUT_MS,
	.name = "lichen",
};
