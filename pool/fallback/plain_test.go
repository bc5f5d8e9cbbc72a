package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// A second chain, plain: one lock, which is not held while a pool or a function runs, a
// breaker of its own, and room for faults. It serves one session's calls one at a time only.

// fault is a mistake that the plain chain makes on purpose.
type fault string

const (
	noFault             fault = ""
	errorsSucceed       fault = "errors-succeed"
	stuckAfterPanic     fault = "stuck-after-panic"
	stuckAfterCancel    fault = "stuck-after-cancel"
	stuckBehindProbe    fault = "stuck-behind-probe"
	neverCloses         fault = "never-closes"
	probesUnlimited     fault = "probes-unlimited"
	cancelFails         fault = "cancel-fails"
	saturationFails     fault = "saturation-fails"
	startFailureIgnored fault = "start-failure-ignored"
	strictMoves         fault = "strict-moves"
	bindingFlips        fault = "binding-flips"
	bindingStays        fault = "binding-stays"
	stickyMovesWhenBusy fault = "sticky-moves-when-busy"
	oldLayerUntold      fault = "old-layer-untold"
	runsTwice           fault = "runs-twice"
	cancelMoves         fault = "cancel-moves"
	deadlineMoves       fault = "deadline-moves"
	lostMoves           fault = "lost-moves"
	sessionsStay        fault = "sessions-stay"
	leaseDoesNotHold    fault = "lease-does-not-hold"
	causesDropped       fault = "causes-dropped"
)

var faults = []fault{
	errorsSucceed, stuckAfterPanic, stuckAfterCancel, stuckBehindProbe, neverCloses, probesUnlimited,
	cancelFails, saturationFails, startFailureIgnored, strictMoves, bindingFlips, bindingStays,
	stickyMovesWhenBusy, oldLayerUntold, runsTwice, cancelMoves, deadlineMoves, lostMoves,
	sessionsStay, leaseDoesNotHold, causesDropped,
}

type plain struct {
	cfg   fallback.Config[worker]
	fault fault

	mu       sync.Mutex
	breakers []*plainBreaker
	bindings map[pool.SessionID]*plainBinding
	changes  []fallback.Change
}

type plainBinding struct {
	layer, leases int
	used          time.Time
}

type plainBreaker struct {
	fallback.Breaker
	state   fallback.State
	changed time.Time
	row     int
	log     []plainOutcome
	tickets []*ticket // half-open: out
	good    int       // half-open: successes
	taken   int       // half-open: places that these have kept
}

type plainOutcome struct {
	admitted time.Time
	bad      bool
}

type ticket struct {
	at      time.Time
	changed time.Time
	state   fallback.State
	spent   bool // it holds no place any more
}

func newPlain(cfg fallback.Config[worker], f fault) *plain {
	p := &plain{cfg: cfg, fault: f, bindings: map[pool.SessionID]*plainBinding{}}
	for _, l := range cfg.Layers {
		p.breakers = append(p.breakers, &plainBreaker{Breaker: l.Breaker, changed: time.Now()})
	}
	return p
}

// locked runs f under the lock, tells pools what they must be told, and reports changes.
func (p *plain) locked(f func()) {
	p.mu.Lock()
	var old []plainEnd
	for id, b := range p.bindings {
		if p.cfg.SessionTTL > 0 && b.leases == 0 && time.Since(b.used) >= p.cfg.SessionTTL && p.fault != sessionsStay {
			delete(p.bindings, id)
			old = append(old, plainEnd{b.layer, id})
		}
	}
	f()
	changes := p.changes
	p.changes = nil
	p.mu.Unlock()
	for _, e := range old {
		p.cfg.Layers[e.layer].Pool.EndSession(e.id)
	}
	for _, c := range changes {
		p.cfg.OnChange(c)
	}
}

type plainEnd struct {
	layer int
	id    pool.SessionID
}

func (p *plain) turn(layer int, s fallback.State, cause error) {
	b := p.breakers[layer]
	p.changes = append(p.changes, fallback.Change{Layer: p.cfg.Layers[layer].Name, From: b.state, To: s, Cause: cause})
	*b = plainBreaker{Breaker: b.Breaker, state: s, changed: time.Now()}
}

func (p *plain) refresh(layer int) *plainBreaker {
	b := p.breakers[layer]
	if b.state == fallback.Open && time.Since(b.changed) >= b.OpenFor {
		p.turn(layer, fallback.HalfOpen, nil)
	}
	return b
}

func (p *plain) admit(layer int) (*ticket, fallback.Reason, error) {
	b := p.refresh(layer)
	t := &ticket{at: time.Now(), changed: b.changed, state: b.state}
	switch b.state {
	case fallback.Open:
		return nil, fallback.BreakerOpen, fallback.ErrBreakerOpen
	case fallback.HalfOpen:
		for _, other := range b.tickets {
			if time.Since(other.at) >= b.ProbeTimeout && p.fault != stuckBehindProbe {
				other.spent = true
			}
		}
		b.tickets = slices.DeleteFunc(b.tickets, func(t *ticket) bool { return t.spent })
		if len(b.tickets)+b.taken >= b.Probes && p.fault != probesUnlimited {
			return nil, fallback.ProbesOut, fallback.ErrProbesOut
		}
		b.tickets = append(b.tickets, t)
	}
	return t, 0, nil
}

// report takes a call's outcome: 1, -1 or 0.
func (p *plain) report(layer int, t *ticket, v int, cause error) {
	b := p.refresh(layer)
	late := t.spent
	if v == 0 && p.fault == stuckAfterCancel {
		return
	}
	t.spent = true
	switch {
	case v == 0 || t.changed != b.changed || t.state != b.state:
	case b.state == fallback.HalfOpen && v < 0:
		p.turn(layer, fallback.Open, cause)
	case b.state == fallback.HalfOpen:
		if !late {
			b.taken++
		}
		if b.good++; b.good >= b.Probes && p.fault != neverCloses {
			p.turn(layer, fallback.Closed, nil)
		}
	default:
		p.count(layer, t, v < 0, cause)
	}
}

func (p *plain) count(layer int, t *ticket, bad bool, cause error) {
	b := p.breakers[layer]
	if b.log = append(b.log, plainOutcome{t.at, bad}); !bad {
		b.row = 0
		return
	}
	b.row++
	opens := b.row >= b.FailuresInRow
	if b.FailureRatio > 0 {
		part := int64(b.Window) / 10
		age := func(t time.Time) int64 { return int64(t.Sub(b.changed)) / part }
		var all, failed float64
		for _, o := range b.log {
			if age(time.Now())-age(o.admitted) < 10 {
				all++
				if o.bad {
					failed++
				}
			}
		}
		opens = int(all) >= b.MinCalls && failed >= b.FailureRatio*all
	}
	if opens {
		p.turn(layer, fallback.Open, cause)
	}
}

func (p *plain) EndSession(id pool.SessionID) {
	var b *plainBinding
	p.locked(func() {
		b = p.bindings[id]
		delete(p.bindings, id)
	})
	if b != nil {
		p.cfg.Layers[b.layer].Pool.EndSession(id)
	}
}

func (p *plain) Stat() (s fallback.Stat) {
	p.locked(func() {
		s.Sessions = len(p.bindings)
		for i, l := range p.cfg.Layers {
			s.Layers = append(s.Layers, fallback.LayerStat{Name: l.Name, State: p.refresh(i).state})
		}
	})
	return s
}

// plainGrant is a worker that a call got.
type plainGrant struct {
	layer   int
	ticket  *ticket
	lease   pool.Lease[worker]
	binding *plainBinding
	served  fallback.Served
}

func (p *plain) Do(ctx context.Context, id pool.SessionID, f func(context.Context, worker) error) (fallback.Served, error) {
	return p.do(ctx, id, f, p.fault == runsTwice)
}

func (p *plain) DoIdempotent(ctx context.Context, id pool.SessionID, f func(context.Context, worker) error) (fallback.Served, error) {
	return p.do(ctx, id, f, true)
}

func (p *plain) do(ctx context.Context, id pool.SessionID, f func(context.Context, worker) error, again bool) (fallback.Served, error) {
	var (
		served fallback.Served
		last   error
		left   []int
		passed []fallback.Passed
	)
	for {
		g, err := p.find(ctx, id, left, &passed)
		if err != nil {
			served.Passed = passed
			return served, errors.Join(err, last)
		}
		served = g.served
		served.Passed = passed
		v, err := p.use(ctx, id, g, f)
		if v >= 0 || !again || id != "" && p.cfg.Affinity == pool.Strict {
			return served, err
		}
		last = err
		left = append(left, g.layer)
		passed = append(passed, fallback.Passed{Layer: served.Layer, Reason: fallback.WorkerBroke, Err: err})
	}
}

func (p *plain) use(ctx context.Context, id pool.SessionID, g *plainGrant, f func(context.Context, worker) error) (v int, err error) {
	over := func(v int, err error) {
		p.locked(func() {
			p.report(g.layer, g.ticket, v, err)
			if g.binding != nil && p.bindings[id] == g.binding {
				g.binding.leases--
				g.binding.used = time.Now()
			}
		})
	}
	returned := false
	defer func() {
		if !returned {
			g.lease.Discard(errApp)
			if p.fault != stuckAfterPanic {
				over(-1, errApp)
			}
		}
	}()
	err = f(ctx, g.lease.Worker())
	returned = true
	switch broke := errors.Is(err, errBroken); {
	case err == nil || err != nil && p.fault == errorsSucceed:
		v = 1
	case ctx.Err() != nil && p.fault != cancelFails:
	case broke:
		v = -1
	case p.cfg.Broken != nil:
		v = 1
	}
	g.lease.Release()
	over(v, err)
	return v, err
}

func (p *plain) find(ctx context.Context, id pool.SessionID, left []int, passed *[]fallback.Passed) (*plainGrant, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	bound, full := -1, false
	p.locked(func() {
		if b := p.bindings[id]; b != nil {
			bound = b.layer
		} else {
			full = id != "" && p.cfg.MaxSessions > 0 && len(p.bindings) >= p.cfg.MaxSessions
		}
	})
	if full {
		return nil, pool.ErrSessionLimit
	}
	var order []int
	if bound >= 0 && p.fault != bindingFlips {
		order = append(order, bound)
	}
	for i := range p.cfg.Layers {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	for _, layer := range order {
		if slices.Contains(left, layer) {
			continue
		}
		g, why, err := p.ask(ctx, id, layer, bound)
		if why == 0 {
			return g, err
		}
		at := fallback.Passed{Layer: p.cfg.Layers[layer].Name, Reason: why, Err: err}
		*passed = append(*passed, at)
		busy := why == fallback.Saturated || why == fallback.AcquireTimeout
		if layer == bound && (p.cfg.Affinity == pool.Strict && p.fault != strictMoves ||
			p.cfg.Affinity == pool.Sticky && busy && p.fault != stickyMovesWhenBusy) {
			return nil, &fallback.HeldError{Session: id, Passed: at}
		}
	}
	if p.fault == causesDropped {
		return nil, fallback.ErrExhausted
	}
	return nil, &fallback.ExhaustedError{Passed: *passed}
}

func (p *plain) ask(ctx context.Context, id pool.SessionID, layer, bound int) (g *plainGrant, why fallback.Reason, err error) {
	var t *ticket
	p.locked(func() {
		t, why, err = p.admit(layer)
		if b := p.bindings[id]; b != nil && t != nil {
			b.used = time.Now()
		}
	})
	if t == nil {
		return nil, why, err
	}
	lease, err := p.cfg.Layers[layer].Pool.AcquireSession(ctx, id)
	if err != nil {
		v := 0
		why, v = p.refusal(ctx, err, layer == bound)
		p.locked(func() { p.report(layer, t, v, err) })
		if why == 0 && ctx.Err() == nil {
			err = fmt.Errorf("layer %d: %w", layer, err)
		}
		return nil, why, err
	}
	g = &plainGrant{layer: layer, ticket: t, lease: lease, served: fallback.Served{
		Layer: p.cfg.Layers[layer].Name, Worker: lease.WorkerID(), Token: lease.Token(), Fresh: lease.Fresh(),
	}}
	if id != "" {
		p.bind(id, g, bound)
	}
	return g, 0, nil
}

func (p *plain) bind(id pool.SessionID, g *plainGrant, bound int) {
	if g.layer != bound && bound >= 0 {
		g.served.Moved, g.served.From = true, p.cfg.Layers[bound].Name
		if p.fault != oldLayerUntold {
			p.cfg.Layers[bound].Pool.EndSession(id)
		}
	}
	p.locked(func() {
		if g.layer != bound && (bound < 0 || p.fault != bindingStays) {
			p.bindings[id] = &plainBinding{layer: g.layer}
		}
		g.binding = p.bindings[id]
		if g.binding.used = time.Now(); p.fault != leaseDoesNotHold {
			g.binding.leases++
		}
	})
}

func (p *plain) refusal(ctx context.Context, err error, bound bool) (why fallback.Reason, v int) {
	var start *pool.StartError
	switch {
	case ctx.Err() != nil && p.fault != cancelMoves:
		return 0, 0
	case errors.Is(err, pool.ErrClosed):
		return fallback.PoolClosed, -1
	case errors.Is(err, pool.ErrSaturated) && p.fault == saturationFails:
		return fallback.Saturated, -1
	case errors.Is(err, pool.ErrSaturated):
		return fallback.Saturated, 0
	case errors.Is(err, pool.ErrAcquireTimeout), errors.Is(err, errOdd) && p.fault == deadlineMoves:
		if bound {
			return fallback.AcquireTimeout, 0
		}
		return fallback.AcquireTimeout, -1
	case errors.As(err, &start) && p.fault == startFailureIgnored:
		return fallback.StartFailed, 0
	case errors.As(err, &start):
		return fallback.StartFailed, -1
	case errors.Is(err, pool.ErrSessionLost) && p.fault == lostMoves:
		return fallback.Saturated, 0
	}
	return 0, 0
}
