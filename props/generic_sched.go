package props

import (
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// genScheduled is the clock of a run whose goroutines are tasks of a scheduler.
type genScheduled struct{ s *sched.Scheduler }

func (c genScheduled) attach(*Env)          {}
func (c genScheduled) start(f func())       { c.s.Go("", f) }
func (c genScheduled) rest()                { c.s.Rest() }
func (c genScheduled) first() time.Duration { return time.Millisecond }
func (c genScheduled) solo(f func())        { c.s.Solo(f) }
func (c genScheduled) sleep(d time.Duration) {
	time.Sleep(d)
	c.s.Rest()
}

// genTasks are the clients of a run under a scheduler. Lines done together are a program:
// each client does its own in their order, and how those of different clients interleave,
// with each other and with the hooks, is what the schedule says.
//
// A task reads and writes the run's fields only after a point, where no other one runs, and
// before its next call into the pool.
type genTasks struct {
	s      *sched.Scheduler
	queues []genQueue // by client
	round  int        // goes up with each rest
	burst  bool       // several lines are done together
}

// genQueue is what is left of a client's program.
type genQueue struct {
	ops  []genOp
	busy bool // a task does them
}

// scheduled is step under a scheduler.
func (r *genRun) scheduled(ops []genOp) *model.PromiseViolation {
	t := r.tasks
	done := false
	for i, o := range ops {
		if o.client > len(r.clients) || o.verb == genVReopen && len(ops) > 1 {
			continue // the judge knows no reopening that races anything
		}
		if o.verb == genVWait {
			o.wait = min(o.wait, r.longest())
		}
		if o.together = i < len(ops)-1; !r.tail {
			r.ops = append(r.ops, o)
			r.ahead.write(genAheadProgram, o.String())
		}
		done = r.enqueue(o) || done
	}
	if !done {
		return nil
	}
	t.burst = len(ops) > 1
	r.spawn()
	v := r.settle()
	t.burst = false
	t.round++
	return v
}

// longest is how long a line waits at most: a pool that ticks takes steps all the while, and
// too many of them would count as endless.
func (r *genRun) longest() time.Duration {
	spec := &r.target.Spec
	return time.Minute + 2*(spec.IdleTime+spec.Lifetime+spec.AcquireTimeout+spec.SessionTTL+spec.Slack)
}

// enqueue does what takes no task, and gives the rest to the tasks that are to do it.
func (r *genRun) enqueue(o genOp) bool {
	t := r.tasks
	switch {
	case o.verb == genVNext || o.verb == genVWait:
		if !r.can(o) {
			return false
		}
		if o.verb == genVWait {
			r.spawn()
		}
		r.note(o)
		r.launch(o)
	case o.verb == genVOpen:
		round := t.round
		t.s.Go("open", func() { r.openOnce(o, round) })
	case o.verb == genVCancel && t.queues[o.client-1].busy:
		c := r.clients[o.client-1].call
		t.s.Go(fmt.Sprintf("c%d's context", o.client), func() { r.giveUp(o, c) })
	default:
		q := &t.queues[o.client-1]
		q.ops = append(q.ops, o)
	}
	return true
}

// spawn starts the tasks of clients that have something to do.
func (r *genRun) spawn() {
	for i := range r.tasks.queues {
		if q := &r.tasks.queues[i]; len(q.ops) > 0 && !q.busy {
			q.busy = true
			r.tasks.s.Go(fmt.Sprintf("c%d", i+1), func() { r.client(i + 1) })
		}
	}
}

// client is the task of a client: it does what is in its queue. Its start is the point
// before the first line.
func (r *genRun) client(id int) {
	q := &r.tasks.queues[id-1]
	for first := true; len(q.ops) > 0; first = false {
		if !first {
			sched.Point(q.ops[0].String())
		}
		if r.observe() != nil || len(q.ops) == 0 { // the queue is dropped as the run winds down
			break
		}
		o := q.ops[0]
		q.ops = q.ops[1:]
		if o.verb == genVCancel || !r.can(o) {
			continue
		}
		r.note(o)
		c := r.begin(o)
		if len(q.ops) > 0 && q.ops[0].verb == genVCancel {
			cancel := q.ops[0]
			q.ops = q.ops[1:]
			r.tasks.s.Go(fmt.Sprintf("c%d's context", id), func() { r.giveUp(cancel, c) })
		}
		r.env.returned(r.perform(c), c)
	}
	q.busy = false
}

// giveUp is the task that ends the context of a call, unless that has returned.
func (r *genRun) giveUp(o genOp, c *genCall) {
	if r.observe() == nil && c != nil && r.clients[o.client-1].call == c && r.can(o) {
		r.note(o)
		r.launch(o)
	}
}

// openOnce is the task that lets a hook go on, once there is one in this round.
func (r *genRun) openOnce(o genOp, round int) {
	r.tasks.s.Until("open", func() bool { return r.tasks.round != round || o.gate <= len(r.env.gated()) })
	if r.tasks.round == round && r.observe() == nil && r.can(o) {
		r.note(o)
		r.launch(o)
	}
}

// dropped forgets what clients have not begun.
func (r *genRun) dropped() {
	if r.tasks == nil {
		return
	}
	for i := range r.tasks.queues {
		r.tasks.queues[i].ops = nil
	}
}
