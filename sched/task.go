package sched

import (
	"slices"
	"unsafe"

	"github.com/poolproof/poolproof/sched/internal/goid"
)

// Task is a goroutine under control. Its methods, unless they say otherwise, are for the
// goroutine itself, and for those who write drop-in packages such as sched/shim/sync:
//
//	if t := sched.Here(); t != nil {
//		t.Point(sched.OpLock, unsafe.Pointer(m))
//		...
//	}
type Task struct {
	s       *Scheduler
	name    string
	is      *identity
	column  int  // the place in traces, by order of creation
	foreign bool // was not started through Go: its end is not seen

	wake chan struct{} // has room for one

	// Guarded by s.mu.
	id      int64 // of its goroutine, once that runs
	parked  bool
	ended   bool
	gone    bool        // foreign, and not known to be alive
	next    event       // what it does when it goes on
	ready   func() bool // if it can go on; nil if always
	solo    bool        // goes on if it can, without a choice
	patient bool        // goes on only if no other task can
	calm    int         // points since it changed something
	yielded bool        // called Gosched, and no other task has stepped since
	spawned int         // how many children it has
	locks   int         // mutexes that it has locked

	dying bool // written before wake is sent on, read after it is received
}

// Name returns the name given to Scheduler.Go, or else the identity: the number of the
// child among its parent's children, after the parent's identity. "1.2" is the second
// child of the first. Of more than 16 numbers the last 16 follow after how many there are
// before, such as "(4)". Any goroutine may call it.
func (t *Task) Name() string { return t.name }

// newTaskLocked makes a child of parent, which may be nil.
func (s *Scheduler) newTaskLocked(parent *Task, name string) *Task {
	var is *identity
	spawned := &s.spawned
	if parent != nil {
		is, spawned = parent.is, &parent.spawned
	}
	*spawned++
	return s.newTaskAtLocked(is.child(*spawned), name)
}

// newTaskAtLocked makes a task of that identity, parked at its first point.
func (s *Scheduler) newTaskAtLocked(is *identity, name string) *Task {
	if name == "" {
		name = is.String()
	}
	t := &Task{s: s, name: name, is: is, column: len(s.everyone), wake: make(chan struct{}, 1), parked: true}
	t.next = event{task: t, op: OpStart}
	s.everyone = append(s.everyone, t)
	s.insertLocked(t)
	s.parked++
	return t
}

// insertLocked puts t in its place among the tasks that have not ended.
func (s *Scheduler) insertLocked(t *Task) {
	at, _ := slices.BinarySearchFunc(s.tasks, t, func(a, b *Task) int { return a.is.compare(b.is) })
	s.tasks = slices.Insert(s.tasks, at, t)
	t.gone = false
}

// Go runs fn as a new task, the next child of the calling one. Outside a run it is
// a go statement.
func Go(fn func()) {
	t := Here()
	if t == nil {
		go fn()
		return
	}
	t.s.spawn(t, "", fn)
	t.Point(OpGo, nil)
}

// Go runs fn as a new task with that name, a child of the calling task.
func (s *Scheduler) Go(name string, fn func()) {
	s.spawn(Here(), name, fn)
}

func (s *Scheduler) spawn(parent *Task, name string, fn func()) {
	s.mu.Lock()
	t := s.newTaskLocked(parent, name)
	s.mu.Unlock()
	go t.run(fn)
}

// run is the body of a task's goroutine.
func (t *Task) run(fn func()) {
	id := goid.Get()
	enroll(id, t)
	t.s.mu.Lock()
	t.id = id
	t.s.mu.Unlock()
	returned := false
	defer func() {
		// Without a return or a panic fn has called Goexit: itself, by FailNow, or
		// because the run is being ended.
		t.end(id, recover(), !returned)
	}()
	if t.await() {
		fn()
	}
	returned = true
}

// await blocks until the task may go on. It returns false if it must end instead.
func (t *Task) await() bool {
	<-t.wake
	return !t.dying
}

// end settles a task whose function has ended.
func (t *Task) end(id int64, panicked any, exited bool) {
	dismiss(id)
	s := t.s
	var found *Finding
	if panicked != nil && !carries(panicked) {
		found = &Finding{Kind: Panicked, Task: t.name, Message: panicText(panicked), Stack: stackHere()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case found != nil:
		s.findLocked(found)
	case panicked != nil:
		s.carryLocked(panicked)
	case exited && t == s.main && !t.dying:
		s.findLocked(&Finding{Kind: Exited, Task: t.name, Message: "the body called runtime.Goexit, as t.FailNow does"})
	}
	t.ended = true
	s.removeLocked(t)
	if s.current == t {
		s.current = nil
	}
	s.arriveLocked()
}

// Reservation is the identity of tasks that a timer or a context may start later. It
// is made by the task that sets the timer, so that what the timer starts is a child of it.
type Reservation struct {
	s     *Scheduler
	is    *identity
	fired int // guarded by s.mu
}

// Reserve returns the identity of a child to be started later by something that is not a
// task. anytime says that it can be started while a task runs, as a context does, and not
// only when time passes.
func (t *Task) Reserve(anytime bool) *Reservation {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.foreign = t.s.foreign || anytime
	t.spawned++
	return &Reservation{s: t.s, is: t.is.child(t.spawned)}
}

// Run makes the calling goroutine a task for as long as fn runs. If the run is over it
// just calls fn.
func (r *Reservation) Run(fn func()) {
	s := r.s
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		fn()
		return
	}
	is := r.is
	if r.fired++; r.fired > 1 {
		is = is.child(r.fired)
	}
	t := s.newTaskAtLocked(is, "")
	t.next.op = OpTimer
	s.arriveLocked()
	s.mu.Unlock()
	t.run(fn)
}

// adopt makes the calling goroutine a task that was not started through Go, the child of
// from unless that is nil or of another run.
func (s *Scheduler) adopt(id int64, from *Task) *Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	if from != nil && from.s != s {
		from = nil
	}
	t := s.newTaskLocked(from, "")
	t.foreign, t.id = true, id
	s.parked-- // it runs: its first point is yet to come
	t.parked = false
	s.foreign = true
	s.goids = append(s.goids, id)
	enroll(id, t)
	return t
}

// Point is a scheduling point: the calling task stops before what it is about to do to
// object, and goes on when it is chosen. object is the address of what is acted on, nil if
// nothing is; it is used as a name only.
func (t *Task) Point(op Op, object unsafe.Pointer) { t.pause(event{op: op, object: object}, nil) }

// Wait is a point at which the task can be chosen only while ready returns true. ready is
// called by other goroutines, while no task runs; it must not block or pass a point.
func (t *Task) Wait(op Op, object unsafe.Pointer, ready func() bool) {
	t.pause(event{op: op, object: object}, ready)
}

// Await is Wait for the second half of an operation that was begun at an earlier point,
// such as to be woken by a Cond.
func (t *Task) Await(op Op, object unsafe.Pointer, ready func() bool) {
	t.pause(event{op: OpWoke, cause: op, object: object}, ready)
}

// Rest blocks until no other task can go on before time passes: what they are about to do
// they have done. Tasks that spin are not waited for. It is for the tasks of a run, one at
// a time.
func (s *Scheduler) Rest() {
	if t := Here(); t != nil {
		t.pause(event{op: OpRest}, nil)
	}
}

// Until blocks until ready returns true, which is looked at while no task runs; it must
// not block. It is for the tasks of a run.
func (s *Scheduler) Until(label string, ready func() bool) {
	if t := Here(); t != nil {
		t.pause(event{op: OpLabel, label: label}, ready)
	}
}

// Solo calls fn and lets the calling task go on at each of its points, as long as it can,
// whatever the strategy would say. After Rest, what fn sees is one state.
func (s *Scheduler) Solo(fn func()) {
	t := Here()
	if t == nil {
		fn()
		return
	}
	s.mu.Lock()
	before := t.solo
	t.solo = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		t.solo = before
		s.mu.Unlock()
	}()
	fn()
}

// Point is a scheduling point placed by hand: the calling goroutine stops there until it
// is chosen. Outside a run it does nothing.
func Point(label string) {
	if t := Here(); t != nil {
		t.pause(event{op: OpLabel, label: label}, nil)
	}
}

// Block calls block, which may block in any way that is durable in a bubble, and returns
// when the task has been chosen to go on after it. block must return when kill is closed.
func (t *Task) Block(op Op, object unsafe.Pointer, block func(kill <-chan struct{})) {
	if t.dying {
		return
	}
	block(t.s.kill)
	t.pause(event{op: OpWoke, object: object, cause: op}, nil)
}

// Wrote says that the operation of the last point changed something after all, such as a
// CompareAndSwap that succeeded.
func (t *Task) Wrote() {
	t.s.mu.Lock()
	t.s.wroteLocked(t, writes)
	t.s.mu.Unlock()
}

// Dying tells whether the task is being ended: its deferred functions run, points let it
// pass, and conditions are not waited for.
func (t *Task) Dying() bool { return t.dying }

// Killed returns a channel that is closed when tasks are to end wherever they are.
func (t *Task) Killed() <-chan struct{} { return t.s.kill }

// Scheduler returns the run that the task belongs to.
func (t *Task) Scheduler() *Scheduler { return t.s }

// Choose asks the strategy for a number from 0 to n-1.
func (t *Task) Choose(kind Kind, n int) int {
	if n < 2 {
		return 0
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.s.chooseLocked(Choice{Kind: kind, N: n})
}

// Prune tells the strategy, if it is a Pruner, which other choices would have come to the
// same as the last.
func (t *Task) Prune(next int) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if p, ok := t.s.strategy.(Pruner); ok && !t.s.endingLocked() {
		p.Prune(next)
	}
}
