package props

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/poolproof/poolproof/model"
)

// genRun is one run of the generic machine: a pool, its factory, its clients and the
// judge. Its methods are called by one goroutine, the root, which alone decides what
// happens next; each call into the pool that may block has a goroutine of its own.
type genRun struct {
	target *Target
	env    *Env
	pool   Pool
	judge  *model.PromiseState
	clock  genClock

	clients []genClient
	flying  map[int]*genCall // calls that have not returned, by number; not those of churns
	calls   atomic.Int64
	used    map[string]bool // sessions acquired so far
	tail    bool            // the run is winding down
	ahead   *genAhead       // told of each line before it is done; nil: nobody
	traffic genTraffic
	broken  *model.PromiseViolation       // the first that was observed
	failed  func(*model.PromiseViolation) // told of what is wrong before all is let go; may be nil
	tasks   *genTasks                     // nil unless a scheduler runs the clients

	mu    sync.Mutex
	ops   []genOp   // guarded by mu; what was done, without the winding down
	lines []genLine // guarded by mu; what was done, and what came of it
}

// genLine is one line of a run's transcript.
type genLine struct {
	op    genOp
	text  string // in place of op, if not empty
	tail  bool
	notes []string
}

// genClient is one caller. At any moment it is free, in a call, or holds a lease.
type genClient struct {
	call  *genCall // that has not returned
	lease *genCall // the acquire whose lease it holds
	last  *genCall // the acquire whose lease it gave back last
}

// genCall is one call into the pool.
type genCall struct {
	op     genOp
	number int
	kind   model.PromiseOp
	ctx    context.Context
	cancel context.CancelFunc
	ended  bool   // its context has been ended
	lease  Lease  // set before its return is logged
	lent   uint64 // the resource of lease
}

// genTraffic counts what runs have done.
type genTraffic struct {
	runs, calls, grants, waits, cancels, creates, failures, gates, closes int
	known                                                                 int // runs that broke a rule known to be broken
	steps, preemptions                                                    int // under a scheduler
}

func (t *genTraffic) add(u genTraffic) {
	more := u.counts()
	for i, n := range t.counts() {
		*n += *more[i]
	}
}

// cost says how much work the runs were; a plain run is 1.
func (t *genTraffic) cost() int { return t.runs + t.creates/20 }

func (t genTraffic) String() string {
	s := fmt.Sprintf("%d runs: %d calls, %d grants, %d waits, %d cancels, %d creates, %d failed, %d rests with a gate shut, %d closes",
		t.runs, t.calls, t.grants, t.waits, t.cancels, t.creates, t.failures, t.gates, t.closes)
	if t.steps > 0 {
		s += fmt.Sprintf(", %d steps, %d preemptions", t.steps, t.preemptions)
	}
	if t.known > 0 {
		s += fmt.Sprintf("; %d runs were cut short by what is known", t.known)
	}
	return s
}

// newGenRun opens the target's pool. It is called where the run takes place.
func newGenRun(target *Target, clock genClock, ahead *genAhead) *genRun {
	r := &genRun{
		ahead: ahead, target: target, env: newGenEnv(), clock: clock, flying: map[int]*genCall{}, used: map[string]bool{},
		clients: make([]genClient, target.Capacity+4),
		judge: model.NewPromise(model.PromiseConfig{
			Spec: target.Spec, Capacity: target.Capacity, Patience: target.patience(), Loose: target.RealTime,
		}),
	}
	r.traffic.runs = 1
	ahead.begin()
	r.env.sound = target.Spec.HooksSucceed
	clock.attach(r.env)
	return r
}

// open opens the pool.
func (r *genRun) open() (v *model.PromiseViolation) {
	defer func() {
		if p := recover(); p != nil {
			v = &model.PromiseViolation{Rule: "open", Text: fmt.Sprintf("Open panicked: %v", p)}
		}
	}()
	p, err := r.target.Open(r.env)
	if err == nil && p == nil {
		err = fmt.Errorf("no pool")
	}
	if err != nil {
		return &model.PromiseViolation{Rule: "open", Text: fmt.Sprintf("Open failed: %v", err)}
	}
	r.pool = p
	if v := genStrayPool(p); v != nil {
		return v
	}
	return r.settle()
}

// step does the ops that can be done now, the first ones together, and lets all come to rest.
func (r *genRun) step(ops ...genOp) *model.PromiseViolation {
	if r.tasks != nil {
		return r.scheduled(ops)
	}
	done := false
	for i, o := range ops {
		if !r.can(o) {
			continue
		}
		o.together = i < len(ops)-1
		r.note(o)
		r.launch(o)
		done = true
	}
	if !done {
		return nil
	}
	r.apart()
	return r.settle()
}

// apart notes that the last line is the last of those done together.
func (r *genRun) apart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[len(r.lines)-1].op.together = false
	if !r.tail {
		r.ops[len(r.ops)-1].together = false
	}
}

// note adds o to the script and the transcript; under a scheduler, to the transcript alone.
func (r *genRun) note(o genOp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.tail && r.tasks == nil {
		r.ops = append(r.ops, o)
	}
	if r.tasks != nil {
		o.together = false // of the program; here the order is that of time
	}
	r.lines = append(r.lines, genLine{op: o, tail: r.tail})
	if r.tasks != nil {
		r.ahead.write(genAheadDone, o.String())
		return
	}
	r.ahead.op(o, r.tail)
}

// say adds what came of the last line.
func (r *genRun) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		r.lines = append(r.lines, genLine{text: "open"})
	}
	l := &r.lines[len(r.lines)-1]
	note := fmt.Sprintf(format, args...)
	l.notes = append(l.notes, note)
	r.ahead.note(note)
}

// launch starts o, which can be done.
func (r *genRun) launch(o genOp) {
	switch o.verb {
	case genVNext:
		r.env.plan(o.hook, o.plan)
	case genVOpen:
		r.env.letGo(o.gate-1, o.how)
	case genVWait:
		wait := o.wait
		if r.target.RealTime { // the script may have been written for virtual time
			wait = min(wait, genMaxReal)
		}
		r.clock.sleep(wait)
	case genVCancel:
		c := r.clients[o.client-1].call
		c.ended = true
		r.traffic.cancels++
		r.env.began(model.PromiseEvent{Kind: model.PromiseCallCanceled, Op: c.kind, Call: c.number, Client: o.client, Done: true})
		c.cancel()
	case genVChurn:
		r.churn(o)
	default:
		c := r.begin(o)
		r.clock.start(func() { r.env.returned(r.perform(c), c) })
	}
}

// begin notes that the call begins that o asks for.
func (r *genRun) begin(o genOp) *genCall {
	r.traffic.calls++
	cl := &r.clients[o.client-1]
	c := &genCall{op: o, number: r.newCall(), kind: genKind(o.verb)}
	ev := model.PromiseEvent{
		Kind: model.PromiseCallBegan, Op: c.kind, Call: c.number, Client: o.client, Session: o.session, Max: o.max, Done: o.done,
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	switch c.kind {
	case model.PromiseAcquire:
		if o.wait > 0 {
			c.ctx, c.cancel = context.WithTimeout(context.Background(), o.wait)
			deadline, _ := c.ctx.Deadline() // not a later reading of the clock
			ev.Deadline = deadline.Sub(r.env.start)
		}
		if o.session != "" {
			r.used[o.session] = true
		}
	case model.PromiseRelease, model.PromiseDiscard:
		c.lease, c.lent = cl.lease.lease, cl.lease.lent
		ev.Lease, ev.Resource = cl.lease.number, c.lent
		cl.last, cl.lease = cl.lease, nil
	case model.PromiseAgain:
		c.lease, ev.Lease = cl.last.lease, cl.last.number
		cl.last = nil
	case model.PromiseClose, model.PromiseShutdown:
		r.traffic.closes++
	}
	if o.done {
		c.ended = true
		c.cancel()
	}
	cl.call = c
	r.flying[c.number] = c
	r.env.began(ev)
	return c
}

// began logs that a call begins, or that its context ends.
func (e *Env) began(ev model.PromiseEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch ev.Op {
	case model.PromiseAcquire, model.PromiseTry:
		if ev.Kind == model.PromiseCallBegan {
			e.acquiring++
		}
	case model.PromiseRelease, model.PromiseDiscard:
		if ev.Resource > 0 {
			e.resources[ev.Resource-1].held = false
		}
	case model.PromiseClose, model.PromiseShutdown:
		e.closing = true
		e.forced = e.forced || ev.Op == model.PromiseShutdown && ev.Done
	}
	e.logLocked(ev)
	if e.history != nil {
		e.history.began(&ev)
	}
}

// returned logs that a call has returned.
func (e *Env) returned(ev model.PromiseEvent, c *genCall) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Op == model.PromiseAcquire || ev.Op == model.PromiseTry {
		e.acquiring--
		if ev.Outcome == Granted && c.lent > 0 {
			e.resources[c.lent-1].held = true
		}
	}
	if c.kind == model.PromiseReopen {
		e.closing, e.forced = false, false
	}
	if e.history != nil {
		e.history.returned(&ev, c)
	}
	e.logLocked(ev)
}

// perform makes the call and reports how it ended; a panic is carried home as an event.
func (r *genRun) perform(c *genCall) (ev model.PromiseEvent) {
	ev = model.PromiseEvent{Kind: model.PromiseCallEnded, Op: c.kind, Call: c.number, Client: c.op.client}
	defer func() {
		if p := recover(); p != nil {
			ev.Panicked, ev.Outcome = true, CreateFailed
			ev.Text = fmt.Sprint(p)
			ev.Injected = strings.Contains(ev.Text, ErrInjected.Error())
			if !ev.Injected && (c.kind != model.PromiseAgain || r.target.Spec.DoubleRelease != Panics) {
				ev.Text += "\n" + genFrames(string(debug.Stack()))
			}
		}
	}()
	lease, err := r.call(c)
	acquire := c.kind == model.PromiseAcquire || c.kind == model.PromiseTry
	switch {
	case err != nil && acquire:
		ev.Outcome = r.target.outcome(err)
	case err != nil:
		ev.Outcome = Refused
	}
	ev.Text = genErrText(err)
	if acquire && ev.Outcome == Granted && lease != nil {
		if res := lease.Resource(); res != nil {
			c.lease, c.lent = lease, res.id
			ev.Resource = res.id
		}
	}
	return ev
}

// call makes the call.
func (r *genRun) call(c *genCall) (Lease, error) {
	switch c.op.verb {
	case genVAcquire:
		if c.op.session != "" {
			return r.pool.(SessionAcquirer).AcquireSession(c.ctx, c.op.session)
		}
		return r.pool.Acquire(c.ctx)
	case genVTry:
		return r.pool.(TryAcquirer).TryAcquire()
	case genVRelease, genVAgain:
		c.lease.Release()
	case genVDiscard:
		c.lease.(Discarder).Discard()
	case genVEnd:
		c.lease.(Ender).End(c.op.ending)
	case genVEndSession:
		r.pool.(SessionAcquirer).EndSession(c.op.session)
	case genVResize:
		return nil, r.pool.(Resizer).Resize(c.op.max)
	case genVReset:
		r.pool.(Resetter).Reset()
	case genVCreate:
		return nil, r.pool.(Creator).CreateResource(c.ctx)
	case genVClose:
		return nil, genIgnore(r.pool.Close())
	case genVShutdown:
		return nil, genIgnore(r.pool.(Forcer).Shutdown(c.ctx))
	case genVReopen:
		return nil, r.pool.(Reopener).Reopen()
	}
	return nil, nil
}

// genIgnore drops the error of a close, which may say anything.
func genIgnore(error) error { return nil }

// genKind returns the call that a verb makes.
func genKind(v genVerb) model.PromiseOp {
	switch v {
	case genVTry:
		return model.PromiseTry
	case genVRelease, genVEnd:
		return model.PromiseRelease
	case genVDiscard:
		return model.PromiseDiscard
	case genVAgain:
		return model.PromiseAgain
	case genVEndSession:
		return model.PromiseEndSession
	case genVResize:
		return model.PromiseResize
	case genVReset:
		return model.PromiseReset
	case genVCreate:
		return model.PromiseCreate
	case genVClose:
		return model.PromiseClose
	case genVShutdown:
		return model.PromiseShutdown
	case genVReopen:
		return model.PromiseReopen
	}
	return model.PromiseAcquire
}
