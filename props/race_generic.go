package props

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/model"
)

// raceSeam is told of every call just before it reaches the pool, and just after it has
// returned, by the goroutine that makes it. Between the two nothing of the machine orders
// one client after another, so that the race detector sees what the pool itself leaves out.
type raceSeam interface {
	Call(model.PromiseEvent)
	Return(model.PromiseEvent, *genCall)
}

// raceLog is the seam to a run's log, which has the order of what was called and returned.
type raceLog struct{ env *Env }

func (l raceLog) Call(ev model.PromiseEvent)               { l.env.began(ev) }
func (l raceLog) Return(ev model.PromiseEvent, c *genCall) { l.env.returned(ev, c) }

// raceRun is one run of real goroutines on a pool, by the clock on the wall. What it does
// follows from a seed; how it comes out does not.
type raceRun struct {
	*genRun
	rng     *rand.Rand
	seam    raceSeam
	calling atomic.Int64
	crew    []raceClient
	seen    []model.PromiseEvent // what the judge has seen
	until   int                  // how much of it came until the judge found something, if it did
	told    bool                 // the clients do what a script says
	seed    uint64
}

// raceClient is a client in a goroutine of its own.
type raceClient struct {
	run    *raceRun
	number int
	rng    *rand.Rand
	ops    int
	closes int // at this op it closes the pool; -1: it does not
	told   []genOp

	lease *genCall                // whose lease it holds
	last  *genCall                // whose lease it gave back last
	now   atomic.Pointer[genCall] // that has not returned
}

// How much a run is.
const (
	raceMostClients = 6  // more if the capacity is no less, for some are to wait
	raceMostEver    = 32 // clients
	raceMostOps     = 50 // of a client
	raceBurst       = 6
	raceWait        = time.Millisecond // what a script does not say
)

// newRaceRun returns a run of clients that draw what they do, unless there is a script.
func newRaceRun(target *Target, clock genClock, ahead *genAhead, seed uint64, script []genOp) *raceRun {
	r := &raceRun{genRun: newGenRun(target, clock, nil), rng: rand.New(rand.NewPCG(seed, 1)), told: script != nil, seed: seed}
	r.seam = raceLog{r.env}
	fails := !target.Spec.HooksSucceed
	r.env.improvise(rand.New(rand.NewPCG(seed, 2)), fails, fails && target.Spec.HookPanics)
	r.genRun.ahead = ahead
	if r.told {
		r.follow(seed, script)
		return r
	}
	closer := -1
	if r.rng.IntN(3) == 0 {
		closer = 0
	}
	most := raceMostOps
	if r.rng.IntN(2) == 0 { // a burst: what has been forgotten shows when nothing follows
		most = raceBurst
	}
	clients := max(raceMostClients, min(target.Capacity+3, raceMostEver))
	r.crew = make([]raceClient, 2+r.rng.IntN(clients-1))
	for i := range r.crew {
		c := &r.crew[i]
		c.run, c.number, c.ops, c.closes = r, i+1, 1+r.rng.IntN(most), -1
		c.rng = rand.New(rand.NewPCG(seed, uint64(3+i)))
		if i == closer {
			c.closes = r.rng.IntN(c.ops)
		}
	}
	return r
}

// follow has the clients do what a script says.
func (r *raceRun) follow(seed uint64, script []genOp) {
	for _, o := range script {
		o.client = max(1, o.client)
		for len(r.crew) < o.client {
			r.crew = append(r.crew, raceClient{run: r, number: len(r.crew) + 1, rng: rand.New(rand.NewPCG(seed, uint64(3+len(r.crew))))})
		}
		r.keep(o)
		c := &r.crew[o.client-1]
		c.told = append(c.told, o)
	}
	if len(r.crew) == 0 {
		r.crew = make([]raceClient, 1)
		r.crew[0].run, r.crew[0].number, r.crew[0].rng = r, 1, r.rng
	}
}

// keep adds a line to the script of the run, before it is done. Until there is one, what the
// last run left behind may still end the process.
func (r *raceRun) keep(o genOp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ops) == 0 {
		r.ahead.begin()
		r.ahead.write(genAheadRace, strconv.FormatUint(r.seed, 10))
	}
	r.ops = append(r.ops, o)
	r.ahead.write(genAheadProgram, o.String())
}

// improvise has hooks be slow at random, and fail and panic if they may. In every third run
// most creates take a while and then fail: callers queue up behind them, and only the failure
// can bring them on.
func (e *Env) improvise(rng *rand.Rand, fails, panics bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stormy := rng.IntN(3) == 0
	e.random = func(h genHook) genPlan {
		slow := time.Duration(1+rng.IntN(300)) * time.Microsecond
		switch n := rng.IntN(24); {
		case stormy && fails && h == genCreate && n < 14:
			return genPlan{how: genFail, slow: slow}
		case n < 5:
			return genPlan{how: genSlow, slow: slow}
		case n < 8 && h != genDestroy && fails:
			return genPlan{how: genFail}
		case n == 8 && panics:
			return genPlan{how: genPanics}
		}
		return genPlan{}
	}
}

// play lets the clients loose and waits for them.
func (r *raceRun) play() *model.PromiseViolation {
	var all sync.WaitGroup
	for i := range r.crew {
		all.Add(1)
		r.clock.start(func() {
			defer all.Done()
			r.crew[i].play()
		})
	}
	return r.within(all.Wait)
}

// within calls f in another goroutine and returns what is wrong if it takes too long.
func (r *raceRun) within(f func()) *model.PromiseViolation {
	done := make(chan struct{})
	r.ahead.beat()
	r.clock.start(func() {
		defer close(done)
		f()
	})
	left := r.target.patience()
	if len(r.target.Known) > 0 { // what is known is not waited for long
		soon := min(left, genKnownWait)
		if _, late := genAwait(done, soon); !late {
			return nil
		}
		if v := r.wrong(); r.target.knows(v.Rule) {
			return v
		}
		r.ahead.beat()
		left -= soon
	}
	if _, late := genAwait(done, left); !late {
		return nil
	}
	for i := range r.crew {
		if c := r.crew[i].now.Load(); c != nil {
			return &model.PromiseViolation{Rule: "I4", Text: fmt.Sprintf("client %d: %s has not returned for %v", i+1, c.op, r.target.patience())}
		}
	}
	return &model.PromiseViolation{Rule: "I4", Text: fmt.Sprintf("nothing has come to an end for %v", r.target.patience())}
}

// wrong returns what is wrong while calls do not return.
func (r *raceRun) wrong() *model.PromiseViolation {
	if v := r.judged(); v != nil {
		return v
	}
	if v := r.debts(); v != nil {
		return v
	}
	return &model.PromiseViolation{Rule: "I4", Text: "calls have not returned"}
}

// play does the client's operations, and gives back what it holds in the end.
func (c *raceClient) play() {
	if c.run.told {
		c.follow()
	}
	for i := range c.ops {
		switch {
		case i == c.closes:
			c.giveBack()
			c.do(c.closing())
		case c.lease != nil:
			c.hold()
			c.giveBack()
		default:
			c.do(c.ask())
		}
	}
	c.giveBack()
}

// follow does what the script says, as far as it can be done.
func (c *raceClient) follow() {
	for _, o := range c.told {
		switch {
		case o.verb == genVRelease || o.verb == genVDiscard || o.verb == genVEnd:
			if c.lease != nil {
				c.hold()
				c.do(o)
			}
			continue
		case c.lease != nil: // a drawn client never holds one while it does something else
			c.hold()
			c.do(genOp{verb: genVRelease})
		}
		switch {
		case o.verb == genVAgain && (c.last == nil || c.run.env.isForced()):
			continue
		case o.wait == 0 && (o.verb == genVCreate || o.verb == genVShutdown): // it may wait for room
			o.wait = raceWait
		}
		c.do(o)
	}
}

func (c *raceClient) one(in int) bool { return c.rng.IntN(in) == 0 }

// closing draws how the pool is closed.
func (c *raceClient) closing() genOp {
	if genHas[Forcer](c.run.pool) && c.one(2) {
		return genOp{verb: genVShutdown, wait: time.Duration(1+c.rng.IntN(2000)) * time.Microsecond}
	}
	return genOp{verb: genVClose}
}

// ask draws what a client without a lease does.
func (c *raceClient) ask() genOp {
	pool, n := c.run.pool, c.rng.IntN(40)
	names := genSessions()
	session := names[c.rng.IntN(len(names))]
	switch {
	case n == 0 && genHas[Resizer](pool):
		return genOp{verb: genVResize, max: 1 + c.rng.IntN(c.run.target.Capacity+2)}
	case n == 1 && genHas[Resetter](pool):
		return genOp{verb: genVReset}
	case n < 4 && genHas[Creator](pool):
		return genOp{verb: genVCreate, wait: time.Duration(1+c.rng.IntN(2000)) * time.Microsecond} // it may wait for room
	case n < 7 && genHas[SessionAcquirer](pool):
		return genOp{verb: genVEndSession, session: session}
	case n < 12 && genHas[TryAcquirer](pool):
		return genOp{verb: genVTry}
	case n == 12 && c.last != nil && c.run.target.Spec.DoubleRelease != Undefined && !c.run.env.isForced():
		return genOp{verb: genVAgain}
	}
	o := genOp{verb: genVAcquire, wait: c.patience()}
	if genHas[SessionAcquirer](pool) && c.one(2) {
		o.session = session
	}
	if c.run.target.Spec.NoContext {
		o.wait = 0
	} else if c.one(24) {
		o.done, o.wait = true, 0
	}
	return o
}

// patience draws when an acquire's context ends: mostly never, so that it must be served.
func (c *raceClient) patience() time.Duration {
	if c.one(3) {
		return time.Duration(1+c.rng.IntN(200)) * time.Microsecond
	}
	return 0
}

// hold lets others run, for a while.
func (c *raceClient) hold() {
	switch {
	case c.one(8):
		time.Sleep(time.Duration(c.rng.IntN(200)) * time.Microsecond)
	case c.one(2):
		runtime.Gosched()
	}
}

// giveBack ends the client's lease, if it has one, in a drawn way.
func (c *raceClient) giveBack() {
	if c.lease == nil {
		return
	}
	o := genOp{verb: genVRelease}
	lease := c.lease.lease
	switch {
	case genHas[Discarder](lease) && c.one(6):
		o.verb = genVDiscard
	case genHas[Ender](lease) && c.one(3):
		o.verb, o.ending = genVEnd, Ending(c.rng.IntN(int(Error)+1))
		switch spec := &c.run.target.Spec; {
		case spec.HookPanics && spec.NoGoexit:
			o.ending = Ending(c.rng.IntN(int(Panic) + 1))
		case spec.HookPanics:
			o.ending = Ending(c.rng.IntN(int(Goexit) + 1))
		}
	}
	c.do(o)
}

// do makes a call.
func (c *raceClient) do(o genOp) {
	o.client = c.number
	if !c.run.told && !c.run.tail {
		c.run.keep(o)
	}
	call := &genCall{op: o, number: int(c.run.calling.Add(1)), kind: genKind(o.verb)}
	ev := model.PromiseEvent{
		Kind: model.PromiseCallBegan, Op: call.kind, Call: call.number, Client: c.number, Session: o.session, Max: o.max, Done: o.done,
	}
	call.ctx, call.cancel = context.WithCancel(context.Background())
	if o.wait > 0 {
		call.ctx, call.cancel = context.WithTimeout(context.Background(), o.wait)
		deadline, _ := call.ctx.Deadline()
		ev.Deadline = deadline.Sub(c.run.env.start)
	}
	defer call.cancel()
	if o.done {
		call.cancel()
	}
	switch call.kind {
	case model.PromiseRelease, model.PromiseDiscard:
		call.lease, call.lent = c.lease.lease, c.lease.lent
		ev.Lease, ev.Resource = c.lease.number, call.lent
		c.last, c.lease = c.lease, nil
	case model.PromiseAgain:
		call.lease, ev.Lease = c.last.lease, c.last.number
		c.last = nil
	case model.PromiseShutdown:
		ev.Done = true // its context ends while it runs, if it lasts
	}
	c.now.Store(call)
	c.run.seam.Call(ev)
	if ev.Resource > 0 {
		call.lease.Resource().letGo()
	}
	back := c.run.perform(call)
	if call.lent > 0 && (call.kind == model.PromiseAcquire || call.kind == model.PromiseTry) {
		c.lease = call
		if r := call.lease.Resource(); !r.takeHold(call.number) {
			c.run.env.log(model.PromiseEvent{Kind: model.PromiseMisuse, Resource: r.id, Text: "held by two callers at once"})
		}
	}
	c.run.seam.Return(back, call)
	c.now.Store(nil)
}

// takeHold and letGo are what a holder does with a resource first and last. The mark is
// written without any synchronisation, and outside of what the holder's word synchronises:
// if the pool does not order one holder after the other, the race detector says so.
func (r *Resource) takeHold(call int) bool {
	r.mark = call
	return r.word.CompareAndSwap(0, int64(call))
}

func (r *Resource) letGo() {
	r.word.Store(0)
	r.mark = 0
}
