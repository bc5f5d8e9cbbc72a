package props

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/sched"
)

// schedRun is one run of a program on a pool, under the scheduler. The clients, the hooks
// and the moments at which contexts end are tasks; each stops before what it does next
// until the schedule lets it go on. What happens is logged and judged when the run is over.
type schedRun struct {
	fullFactory
	target  *PoolTarget
	program *schedProgram
	subject Subject
	s       *sched.Scheduler
	began   time.Time
	met     func() // called when those who meet go on

	// guarded by fullFactory.mu
	log     schedLog
	history *schedHistory
	clients []schedClient
	running []schedRunning      // hooks
	nth     [schedHookKinds]int // hooks called so far
	winding bool                // clients begin nothing more
	gone    bool                // those who met have gone on
}

// schedClient is one client. Its fields belong to its task, and to the root at rest, but
// for those that say otherwise.
type schedClient struct {
	number model.Client
	lease  SubjectLease
	held   *FullWorker
	past   SubjectLease // the last one that ended
	worker pool.WorkerID

	// guarded by fullFactory.mu
	call   int // that has not returned, plus 1
	cancel context.CancelCauseFunc
	ended  bool // cancel has been called
	over   bool // its program has been done
	met    bool // it has come to a meeting
}

// schedRunning is a hook that has been called and has not returned.
type schedRunning struct {
	ctx   context.Context
	ended model.Event // what the end of its context is for the model
	done  bool
}

// schedReadier and schedDoer are what a Subject may have besides.
type schedReadier interface {
	Ready(ctx context.Context) error
}

type schedDoer interface {
	Do(ctx context.Context, id pool.SessionID, f func(context.Context, *FullWorker) error) error
}

// schedCan returns a subject, or the pool that it adapts, as a T, if it is one.
func schedCan[T any](s Subject) (can T, ok bool) {
	if can, ok = s.(T); ok {
		return can, true
	}
	if w, adapted := s.(interface{ unwrap() any }); adapted {
		can, ok = w.unwrap().(T)
	}
	return can, ok
}

func newSchedRun(target *PoolTarget, program *schedProgram) *schedRun {
	r := &schedRun{target: target, program: program}
	r.backend = target.Backend
	if r.backend == nil {
		r.backend = fullMemory{}
	}
	if old := target.spare; old != nil {
		target.spare = nil
		clear(old.running)
		clear(old.log.entries)
		r.log.entries, r.log.calls, r.log.judging = old.log.entries[:0], old.log.calls[:0], old.log.judging
		r.running, r.history = old.running[:0], old.history
	} else {
		r.log.entries = make([]schedEntry, 0, 64)
		r.log.calls = make([]schedCall, 0, 16)
		r.running = make([]schedRunning, 0, 8)
		r.history = &schedHistory{recorder: &linearize.Recorder{}}
	}
	r.log.timed = true
	r.clients = make([]schedClient, program.cfg.Clients)
	for i := range r.clients {
		r.clients[i].number = model.Client(i + 1)
	}
	r.history.begin(r)
	r.loose = r.hook
	r.met = func() {}
	return r
}

// open opens the pool.
func (r *schedRun) open() error {
	cfg := fullPoolConfig(r.program.cfg, fullTick)
	cfg.Start, cfg.Stop, cfg.Usable = r.start, r.stop, r.usable
	if r.program.cfg.HasCheck {
		cfg.Check = r.check
	}
	if r.program.cfg.HasTell {
		cfg.SessionEnded = r.sessionEnded
	}
	if r.program.observed {
		cfg.Observer = r.history.observe
	}
	r.books.most = cfg.MaxSize
	r.began = time.Now()
	var err error
	if r.subject, err = r.target.Open(cfg); err != nil {
		return errors.Join(errFullOpen, err)
	}
	return nil
}

// enter adds to the log. The caller holds the lock.
func (r *schedRun) enterLocked(e schedEntry) { r.log.add(time.Since(r.began), e) }

// hook is what every hook of the pool's workers does.
func (r *schedRun) hook(ctx context.Context, began model.Event) fullHow {
	kind := schedHookOf(began.Kind)
	r.mu.Lock()
	r.nth[kind]++
	n := r.nth[kind]
	if kind == schedStart || kind == schedStop {
		n = int(began.Worker)
	}
	plan := r.program.hook(kind, n)
	answer := schedAnswer(kind, plan.how, began.Worker)
	mine := len(r.running)
	r.running = append(r.running, schedRunning{ctx: ctx, ended: schedCancelled(answer), done: kind == schedStop})
	r.enterLocked(schedEntry{kind: schedHookBegan, hook: began})
	r.mu.Unlock()
	sched.Point(schedHookLabels[kind])
	if plan.slow > 0 {
		time.Sleep(time.Duration(plan.slow) * fullTick)
		sched.Point(schedSlowLabels[kind])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[mine].done = true
	r.enterLocked(schedEntry{kind: schedHookEnded, answer: answer, cancelled: kind != schedStop && ctx.Err() != nil})
	return plan.how
}

// schedHookOf says which hook begins with an event.
func schedHookOf(began model.EventKind) schedHookKind {
	switch began {
	case model.EvStartBegun:
		return schedStart
	case model.EvStopBegun:
		return schedStop
	case model.EvCheckBegun:
		return schedCheck
	}
	return schedTell
}

var (
	schedHookLabels = [schedHookKinds]string{"start", "stop", "check", "tell"}
	schedSlowLabels = [schedHookKinds]string{"slow start", "slow stop", "slow check", "slow tell"}
)

// schedAnswer is the model's form of a hook's return.
func schedAnswer(kind schedHookKind, how fullHow, worker model.Worker) model.Op {
	good := how == fullGood
	op := model.Op{Worker: worker}
	switch {
	case kind == schedStop:
		op.Kind = model.OpStopped
	case kind == schedStart && good:
		op.Kind = model.OpStarted
	case kind == schedStart:
		op.Kind = model.OpStartFailed
	case kind == schedCheck && good:
		op.Kind = model.OpChecked
	case kind == schedCheck:
		op.Kind = model.OpCheckFailed
	case good:
		op.Kind = model.OpTold
	default:
		op.Kind = model.OpTellFailed
	}
	return op
}

// body is the run's first task: it opens the pool, lets the clients do their programs, and
// winds down. It returns what the factory's books find wrong.
func (r *schedRun) body(s *sched.Scheduler) error {
	r.s = s
	if err := r.open(); err != nil {
		return err
	}
	for i := range r.clients {
		if i < len(r.program.clients) && len(r.program.clients[i]) > 0 {
			s.Go(fmt.Sprintf("c%d", i+1), func() { r.client(&r.clients[i], r.program.clients[i]) })
		} else {
			r.clients[i].over = true
		}
	}
	if err := r.still(); err != nil {
		return err
	}
	r.mu.Lock()
	apart := !r.gone
	r.gone = true // some wait for those who have met
	r.met()
	r.mu.Unlock()
	if apart {
		if err := r.still(); err != nil {
			return err
		}
	}
	for i := range schedMostPauses {
		if pausing, waiting := r.unfinished(); !pausing && (!waiting || i >= schedPatience) {
			break
		}
		time.Sleep(fullTick)
		if err := r.still(); err != nil {
			return err
		}
	}
	return r.wind()
}

// schedMostPauses is how many ticks a run waits for clients that pause, schedPatience how
// many for those that wait in a call.
const (
	schedMostPauses = 8
	schedPatience   = 2
)

// unfinished tells whether some client has not done its program and pauses, and whether
// some one waits in a call.
func (r *schedRun) unfinished() (pausing, waiting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.clients {
		c := &r.clients[i]
		pausing = pausing || !c.over && c.call == 0
		waiting = waiting || !c.over && c.call > 0
	}
	return pausing, waiting
}

// still waits for rest and notes what is seen.
func (r *schedRun) still() error {
	r.s.Rest()
	seen := &schedStill{}
	r.s.Solo(func() {
		for i := range r.clients {
			if c := &r.clients[i]; c.lease != nil {
				seen.held[i] = 1
				if c.lease.Revoked() {
					seen.held[i] = 2
				}
			}
		}
		seen.tally, seen.counted = r.subject.Tally()
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.running {
		if h := &r.running[i]; !h.done && h.ctx.Err() != nil {
			seen.ended = append(seen.ended, h.ended)
		}
	}
	r.enterLocked(schedEntry{kind: schedRest, rest: seen})
	r.books.rest()
	return r.faultLocked()
}

// faultLocked is the first fault that the books have found.
func (r *schedRun) faultLocked() error {
	if len(r.books.faults) > 0 {
		return errors.New(r.books.faults[0])
	}
	return nil
}

// wind gives back what is held, ends what waits, closes the pool, and demands that
// nothing is left.
func (r *schedRun) wind() error {
	r.mu.Lock()
	r.winding = true
	r.mu.Unlock()
	for range schedMostPauses { // a release serves a waiter, whose lease comes back next
		held := false
		for i := range r.clients {
			if c := &r.clients[i]; c.lease != nil {
				held = true
				r.s.Solo(func() { r.giveBack(c, schedOp{verb: schedRelease}) })
				if err := r.still(); err != nil {
					return err
				}
			}
		}
		if !held {
			break
		}
	}
	for i := range r.clients {
		r.giveUp(&r.clients[i])
	}
	if err := r.still(); err != nil {
		return err
	}
	return r.end()
}

// end closes the pool.
func (r *schedRun) end() error {
	closer := &r.clients[0]
	r.mu.Lock()
	busy := closer.call > 0
	r.mu.Unlock()
	if !busy { // else it waits in a Close already
		r.s.Go("close", func() { r.close(closer, schedOp{verb: schedClose}) })
	}
	for range schedMostPauses {
		if err := r.still(); err != nil {
			return err
		}
		r.mu.Lock()
		open := r.books.live
		for i := range r.clients {
			if r.clients[i].call > 0 || !r.clients[i].over {
				open++
			}
		}
		r.mu.Unlock()
		if open == 0 {
			break
		}
		time.Sleep(fullTick)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.clients {
		if c := &r.clients[i]; c.call > 0 {
			call := &r.log.calls[c.call-1]
			return fmt.Errorf("%s: client %d does not return from %s although every hook has returned and the pool is closed",
				call.rule(), c.number, call.text())
		}
	}
	r.books.left()
	return r.faultLocked()
}
