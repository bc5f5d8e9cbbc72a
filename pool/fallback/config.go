package fallback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Defaults of the Breaker fields whose zero value is not "no limit".
const (
	DefaultFailuresInRow = 5
	DefaultMinCalls      = 20
	DefaultWindow        = time.Minute
	DefaultOpenFor       = 30 * time.Second
	DefaultProbes        = 1
)

const (
	maxLayers = 64 // a set of layers is a word
	maxProbes = 1_000_000
)

// Pool is what a layer needs of a pool; *pool.Pool is one. AcquireSession must fail with
// the errors that pool.Pool returns; an error that is none of them moves no call.
type Pool[T any] interface {
	AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[T], error)
	EndSession(id pool.SessionID)
}

// Config describes a chain. Only Layers is required.
type Config[T any] struct {
	// Layers are the pools in order of preference. Range: 1 to 64.
	Layers []Layer[T]

	// Affinity says when a session may move to another layer; see the package comment.
	// What a session is promised within a layer is the pool's to say. Zero: pool.Strict.
	Affinity pool.Affinity
	// SessionTTL ends a session's binding so long after it last had a lease or asked a
	// pool for one. Set it to the SessionTTL of the pools: if it is longer, a pool may
	// forget the session first, which Lease.Fresh shows; if it is shorter, the chain tells
	// the pool. Zero: only EndSession ends sessions.
	SessionTTL time.Duration
	// MaxSessions bounds the sessions known at once; a call of one more fails with
	// pool.ErrSessionLimit. Zero: no limit.
	MaxSessions int

	// Broken is asked about each error that a caller's function returned while its context
	// lasted: true says that the worker broke, a failure of the layer; false that the
	// worker did its part, a success. It runs on the caller's goroutine. Nil: a
	// *pool.WorkerError is a failure, any other error neither failure nor success.
	Broken func(err error) bool
	// OnChange is told every change of a breaker, on the goroutine that made it, without
	// a lock, possibly concurrently and out of order; Change.Seq gives the order. A panic in it is
	// contained and logged. Nil: nobody is told.
	OnChange func(Change)
	// Logger gets the changes of breakers (opening as a warning) and moves of sessions, whose names
	// are not logged. Nil: discarded.
	Logger *slog.Logger
}

// Layer is one pool of a chain.
type Layer[T any] struct {
	Name    string // unique in the chain, not empty
	Pool    Pool[T]
	Breaker Breaker
}

// Breaker says when a layer is left alone, and how it is tried again. It opens by
// FailuresInRow or by FailureRatio, not both.
type Breaker struct {
	// FailuresInRow opens the breaker after so many failures without a success between them,
	// however long that takes. Zero: DefaultFailuresInRow, unless FailureRatio is set.
	FailuresInRow int
	// FailureRatio opens it when, at a failure, at least this part of the calls that
	// succeeded or failed within Window has failed, and they are at least MinCalls. Zero:
	// not used. Range: up to 1.
	FailureRatio float64
	// MinCalls is described with FailureRatio. Zero: DefaultMinCalls. Requires FailureRatio.
	MinCalls int
	// Window is described with FailureRatio. It moves in tenths of itself. Zero:
	// DefaultWindow. At least a millisecond. Requires FailureRatio.
	Window time.Duration

	// OpenFor is how long the breaker stays open before it lets probes through. Zero:
	// DefaultOpenFor. At least a millisecond.
	OpenFor time.Duration
	// Probes is how many calls a half-open breaker lets through at once, and how many of
	// them must succeed, with no failure between, to close it. Zero: DefaultProbes. Range:
	// up to a million.
	Probes int
	// ProbeTimeout is how long a call holds the place of a probe. Afterwards the next call
	// may be one, too. Zero: OpenFor.
	ProbeTimeout time.Duration
}

func (cfg Config[T]) withDefaults() Config[T] {
	layers := make([]Layer[T], len(cfg.Layers))
	for i, l := range cfg.Layers {
		l.Breaker = l.Breaker.withDefaults()
		layers[i] = l
	}
	cfg.Layers = layers
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func (b Breaker) withDefaults() Breaker {
	if b.FailureRatio == 0 {
		orDefault(&b.FailuresInRow, DefaultFailuresInRow)
	} else {
		orDefault(&b.MinCalls, DefaultMinCalls)
		orDefault(&b.Window, DefaultWindow)
	}
	orDefault(&b.OpenFor, DefaultOpenFor)
	orDefault(&b.Probes, DefaultProbes)
	orDefault(&b.ProbeTimeout, b.OpenFor)
	return b
}

func orDefault[V comparable](field *V, value V) {
	var zero V
	if *field == zero {
		*field = value
	}
}

// complaints gathers what is wrong with a Config.
type complaints []error

func (c *complaints) add(bad bool, format string, args ...any) {
	if bad {
		*c = append(*c, fmt.Errorf("fallback: Config."+format, args...))
	}
}

// validate reports every complaint about a Config whose defaults are filled in.
func (cfg *Config[T]) validate() error {
	var c complaints
	n := len(cfg.Layers)
	c.add(n < 1 || n > maxLayers, "Layers has %d; it must have 1 to %d", n, maxLayers)
	first := map[string]int{}
	for i, l := range cfg.Layers {
		field := fmt.Sprintf("Layers[%d].", i)
		c.add(l.Name == "", field+"Name is empty; it is required")
		if other, used := first[l.Name]; used && l.Name != "" {
			c.add(true, field+"Name is %q; it must differ from that of Layers[%d]", l.Name, other)
		} else {
			first[l.Name] = i
		}
		c.add(l.Pool == nil, field+"Pool is nil; it is required")
		l.Breaker.complain(&c, field+"Breaker.")
	}
	c.add(cfg.Affinity > pool.Prefer, "Affinity is %d; it must be Strict, Sticky or Prefer", uint8(cfg.Affinity))
	c.add(cfg.SessionTTL < 0, "SessionTTL is %v; it must not be negative", cfg.SessionTTL)
	c.add(cfg.MaxSessions < 0, "MaxSessions is %d; it must be at least 0", cfg.MaxSessions)
	return errors.Join(c...)
}

func (b *Breaker) complain(c *complaints, field string) {
	byRatio := b.FailureRatio != 0
	c.add(!(b.FailureRatio >= 0 && b.FailureRatio <= 1), field+"FailureRatio is %v; it must be from 0 to 1", b.FailureRatio)
	c.add(b.FailuresInRow < 0, field+"FailuresInRow is %d; it must be at least 1", b.FailuresInRow)
	c.add(byRatio && b.FailuresInRow > 0, field+"FailuresInRow is %d; it must be 0 where FailureRatio is set, which is %v",
		b.FailuresInRow, b.FailureRatio)
	c.add(b.MinCalls < 0, field+"MinCalls is %d; it must be at least 1", b.MinCalls)
	c.add(!byRatio && b.MinCalls > 0, field+"MinCalls is %d; it requires FailureRatio", b.MinCalls)
	c.add(b.Window != 0 && b.Window < time.Millisecond, field+"Window is %v; it must be at least 1ms", b.Window)
	c.add(!byRatio && b.Window != 0, field+"Window is %v; it requires FailureRatio", b.Window)
	c.add(b.OpenFor < time.Millisecond, field+"OpenFor is %v; it must be at least 1ms", b.OpenFor)
	c.add(b.Probes < 1 || b.Probes > maxProbes, field+"Probes is %d; it must be 1 to %d", b.Probes, maxProbes)
	c.add(b.ProbeTimeout < 0, field+"ProbeTimeout is %v; it must not be negative", b.ProbeTimeout)
}
