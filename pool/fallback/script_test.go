package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// A script is a configuration and operations, which are run on a chain and on the model
// side by side.

const tick = time.Second

type worker struct {
	layer string
	id    pool.WorkerID
}

// subject is what a script is run on.
type subject interface {
	Do(ctx context.Context, id pool.SessionID, f func(context.Context, worker) error) (fallback.Served, error)
	DoIdempotent(ctx context.Context, id pool.SessionID, f func(context.Context, worker) error) (fallback.Served, error)
	EndSession(id pool.SessionID)
	Stat() fallback.Stat
}

type opKind int

const (
	opCall opKind = iota
	opBegin
	opFinish
	opEndSession
	opAnswer
	opWait
)

// op is an operation. Which fields count depends on its kind; all values are good in
// every state, so that a script stays one when parts of it are taken out.
type op struct {
	kind       opKind
	session    string // "" for none
	endings    []ending
	idempotent bool
	done       bool // the caller's context has ended
	slot       int  // of a call that is held
	layer      int
	answer     answer
	ticks      int
}

func (o op) String() string {
	switch o.kind {
	case opCall:
		return fmt.Sprintf("call session=%q endings=%v idempotent=%v done=%v", o.session, o.endings, o.idempotent, o.done)
	case opBegin:
		return fmt.Sprintf("begin slot=%d session=%q", o.slot, o.session)
	case opFinish:
		return fmt.Sprintf("finish slot=%d %v", o.slot, o.endings[0])
	case opEndSession:
		return fmt.Sprintf("end session=%q", o.session)
	case opAnswer:
		return fmt.Sprintf("layer %d %v", o.layer, o.answer)
	}
	return fmt.Sprintf("wait %d", o.ticks)
}

type script struct {
	cfg fallback.Config[worker] // without pools
	ops []op
}

func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "affinity=%v ttl=%v sessions=%d hook=%v\n", s.cfg.Affinity, s.cfg.SessionTTL, s.cfg.MaxSessions, s.cfg.Broken != nil)
	for _, l := range s.cfg.Layers {
		fmt.Fprintf(&b, "layer %s %+v\n", l.Name, l.Breaker)
	}
	for _, o := range s.ops {
		fmt.Fprintf(&b, "%v\n", o)
	}
	return b.String()
}

const slots = 3

var (
	errApp    = errors.New("application error")
	errBroken = &pool.WorkerError{ID: 1, Err: errors.New("its process is gone")}
	errOdd    = fmt.Errorf("odd: %w", context.DeadlineExceeded)
	errGone   = fmt.Errorf("the caller is gone: %w", pool.ErrSaturated) // a cause that looks like a refusal
)

func drawScript(t *rapid.T) script {
	var s script
	draw := func(label string, low, high int) int { return rapid.IntRange(low, high).Draw(t, label) }
	ticks := func(label string, low, high int) time.Duration { return time.Duration(draw(label, low, high)) * tick }
	layers := draw("layers", 1, 3)
	for i := range layers {
		b := fallback.Breaker{OpenFor: ticks("open for", 1, 4), Probes: draw("probes", 1, 2), ProbeTimeout: ticks("probe timeout", 1, 5)}
		if rapid.Bool().Draw(t, "by ratio") {
			b.FailureRatio, b.MinCalls, b.Window = float64(draw("quarters", 1, 4))/4, draw("min calls", 1, 4), 10*tick
		} else {
			b.FailuresInRow = draw("failures", 1, 3)
		}
		s.cfg.Layers = append(s.cfg.Layers, fallback.Layer[worker]{Name: string(rune('A' + i)), Breaker: b})
	}
	s.cfg.Affinity = pool.Affinity(draw("affinity", 0, 2))
	s.cfg.SessionTTL = ticks("ttl", 0, 6)
	s.cfg.MaxSessions = draw("max sessions", 0, 2)
	if rapid.Bool().Draw(t, "hook") {
		s.cfg.Broken = func(err error) bool { return errors.Is(err, errBroken) }
	}
	one := rapid.Custom(func(t *rapid.T) op {
		draw := func(label string, low, high int) int { return rapid.IntRange(low, high).Draw(t, label) }
		o := op{kind: rapid.SampledFrom([]opKind{
			opCall, opCall, opCall, opAnswer, opAnswer, opWait, opWait, opBegin, opBegin, opFinish, opEndSession,
		}).Draw(t, "op")}
		o.session = rapid.SampledFrom([]string{"", "s", "t", "u"}).Draw(t, "session")
		for range layers {
			o.endings = append(o.endings, rapid.SampledFrom([]ending{
				returnsNil, returnsNil, returnsBroken, returnsBroken, returnsError, panics, exits, isCancelled,
			}).Draw(t, "ending"))
		}
		o.slot, o.layer = draw("slot", 0, slots-1), draw("layer", 0, layers-1)
		switch o.kind {
		case opCall:
			o.idempotent, o.done = rapid.Bool().Draw(t, "idempotent"), draw("done", 0, 15) == 15
		case opAnswer:
			o.answer = rapid.SampledFrom([]answer{
				grants, grants, grants, closed, saturated, failsToStart, failsToStart, timesOut, lost, limited, odd, hangs,
			}).Draw(t, "answer")
		case opWait:
			o.ticks = draw("ticks", 1, 6)
		}
		return o
	})
	s.ops = rapid.SliceOfN(one, 1, 40).Draw(t, "ops")
	return s
}

// layerPool is what the tests need of a layer's pool.
type layerPool interface {
	fallback.Pool[worker]
	Retire(id pool.WorkerID, cause error)
	Stat() pool.Stat
	Close() error
}

// fakeLayer is a pool that answers as it is told.
type fakeLayer struct {
	layerPool
	name string

	mu     sync.Mutex
	answer answer
	asked  int
	told   *[]string
	leases []pool.Lease[worker] // that it has granted
}

func (l *fakeLayer) AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[worker], error) {
	l.mu.Lock()
	answer := l.answer
	l.asked++
	l.mu.Unlock()
	switch answer {
	case closed:
		return pool.Lease[worker]{}, pool.ErrClosed
	case saturated:
		return pool.Lease[worker]{}, fmt.Errorf("wrapped: %w", pool.ErrSaturated)
	case failsToStart:
		return pool.Lease[worker]{}, &pool.StartError{ID: 1, Err: errors.Join(context.DeadlineExceeded, pool.ErrSessionLimit)}
	case timesOut:
		return pool.Lease[worker]{}, pool.ErrAcquireTimeout
	case lost:
		return pool.Lease[worker]{}, pool.ErrSessionLost
	case limited:
		return pool.Lease[worker]{}, pool.ErrSessionLimit
	case odd:
		return pool.Lease[worker]{}, errOdd
	case hangs:
		<-ctx.Done()
		return pool.Lease[worker]{}, context.Cause(ctx)
	case blowsUp:
		panic("as planned")
	}
	lease, err := l.layerPool.AcquireSession(ctx, id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases = append(l.leases, lease)
	return lease, err
}

func (l *fakeLayer) EndSession(id pool.SessionID) {
	l.mu.Lock()
	*l.told = append(*l.told, l.name+" "+string(id))
	l.mu.Unlock()
	l.layerPool.EndSession(id)
}
