package otelpool

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolproof/poolproof/pool"
)

// scope names the instrumentation.
const scope = "github.com/poolproof/poolproof/otelpool"

// Config describes the telemetry of one pool. Only Name is required.
type Config struct {
	// Name tells the pool from others; it is the attribute poolproof.pool.name.
	Name string
	// MeterProvider makes the instruments. Nil: otel.GetMeterProvider(), asked by New.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the spans. Nil: otel.GetTracerProvider(), asked by New.
	TracerProvider trace.TracerProvider
	// SessionIDs adds the attribute poolproof.session.id to spans; never to metrics.
	SessionIDs bool
}

// Telemetry is what is known of one pool. Make one with New, one for each pool. Its
// methods may be called by any goroutine at any time.
type Telemetry struct {
	cfg    Config
	meter  metric.Meter
	tracer trace.Tracer
	name   attribute.KeyValue

	// What goes with a measurement, by value of its attribute: nothing else is ever measured.
	plain                                   metric.MeasurementOption
	outcome, started, cause, state, session map[string]metric.MeasurementOption

	starts, stops, outcomes, timeouts, losses metric.Int64Counter
	created, used, waited                     metric.Float64Histogram

	mu  sync.Mutex
	log log // guarded by mu
}

// The values of attributes.
const (
	granted, cancelled, closed, saturated, timedOut      = "granted", "cancelled", "closed", "saturated", "timed_out"
	notAvailable, sessionLost, sessionLimit, startFailed = "not_available", "session_lost", "session_limit", "start_failed"
	started, failed                                      = "started", "failed"
	planned, discarded, unhealthy, revoked, retired      = "planned", "discarded", "unhealthy", "revoked", "retired"
	starting, idle, checking, leased, stopping           = "starting", "idle", "checking", "leased", "stopping"
	unbound, bound, lost                                 = "unbound", "bound", "lost"
)

// The buckets of times, in seconds: calls and waits take from microseconds to minutes.
func buckets() metric.HistogramOption {
	return metric.WithExplicitBucketBoundaries(
		0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
}

// New makes the instruments. It returns every error of the meter, joined.
func New(cfg Config) (*Telemetry, error) {
	if cfg.Name == "" {
		return nil, errors.New("otelpool: Config.Name is empty; it is required")
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	t := &Telemetry{
		cfg: cfg, meter: cfg.MeterProvider.Meter(scope), tracer: cfg.TracerProvider.Tracer(scope),
		name: attribute.String("poolproof.pool.name", cfg.Name), log: newLog(),
	}
	t.plain = metric.WithAttributeSet(attribute.NewSet(t.name))
	t.outcome = t.values("acquire.outcome", granted, cancelled, closed, saturated, timedOut, notAvailable, sessionLost, sessionLimit, startFailed)
	t.started = t.values("start.outcome", started, failed)
	t.cause = t.values("stop.cause", planned, discarded, unhealthy, revoked, retired)
	t.state = t.values("worker.state", starting, idle, checking, leased, stopping)
	t.session = t.values("session.state", unbound, bound, lost)
	if err := t.instruments(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Telemetry) values(key string, values ...string) map[string]metric.MeasurementOption {
	m := map[string]metric.MeasurementOption{}
	for _, v := range values {
		m[v] = metric.WithAttributeSet(attribute.NewSet(t.name, attribute.String("poolproof."+key, v)))
	}
	return m
}

// instruments makes those that events are counted with.
func (t *Telemetry) instruments() error {
	var errs []error
	counter := func(name, unit, text string) metric.Int64Counter {
		c, err := t.meter.Int64Counter("poolproof."+name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	histogram := func(name, text string) metric.Float64Histogram {
		h, err := t.meter.Float64Histogram("poolproof."+name, metric.WithUnit("s"), metric.WithDescription(text), buckets())
		errs = append(errs, err)
		return h
	}
	t.starts = counter("worker.starts", "{start}", "Starts of workers that have ended.")
	t.stops = counter("worker.stops", "{stop}", "Stops of workers that have begun.")
	t.outcomes = counter("acquire.outcomes", "{acquire}", "Acquires that have been decided.")
	t.timeouts = counter("acquire.timeouts", "{timeout}", "Acquires that ran into the pool's time limit.")
	t.losses = counter("session.losses", "{session}", "Sessions whose worker has gone.")
	t.created = histogram("worker.create_time", "The time that a start took.")
	t.used = histogram("worker.use_time", "The time between the grant of a lease and its end.")
	t.waited = histogram("acquire.wait_time", "The time that an acquire took.")
	return errors.Join(errs...)
}

// Stater is what Watch needs of a pool; *pool.Pool is one.
type Stater interface{ Stat() pool.Stat }

// Watch reports the pool's Stat at each collection, until Unregister of what it returns.
// Wrap calls it.
func (t *Telemetry) Watch(p Stater) (metric.Registration, error) {
	var errs []error
	var instruments []metric.Observable
	gauge := func(name, unit, text string) metric.Int64ObservableUpDownCounter {
		g, err := t.meter.Int64ObservableUpDownCounter("poolproof."+name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		instruments = append(instruments, g)
		return g
	}
	workers := gauge("worker.count", "{worker}", "Workers in each state.")
	least := gauge("worker.min", "{worker}", "Workers that are kept started.")
	most := gauge("worker.max", "{worker}", "Workers that there may be.")
	pending := gauge("acquire.pending", "{acquire}", "Acquires that are waiting.")
	sessions := gauge("session.count", "{session}", "Sessions in each state.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := p.Stat()
		for state, n := range map[string]int{
			starting: s.Starting, idle: s.Idle, checking: s.Checking, leased: s.Leased, stopping: s.Stopping,
		} {
			o.ObserveInt64(workers, int64(n), t.state[state])
		}
		for state, n := range map[string]int{
			bound: s.BoundSessions, lost: s.LostSessions, unbound: s.Sessions - s.BoundSessions - s.LostSessions,
		} {
			o.ObserveInt64(sessions, int64(n), t.session[state])
		}
		o.ObserveInt64(least, int64(s.MinSize), t.plain)
		o.ObserveInt64(most, int64(s.MaxSize), t.plain)
		o.ObserveInt64(pending, int64(s.Waiting), t.plain)
		return nil
	}, instruments...)
}

// outcomeOf names the outcome of an acquire.
func outcomeOf(err error) string {
	var start *pool.StartError
	switch {
	case err == nil:
		return granted
	case errors.As(err, &start): // first: its cause may be anything
		return startFailed
	case errors.Is(err, pool.ErrClosed):
		return closed
	case errors.Is(err, pool.ErrSaturated):
		return saturated
	case errors.Is(err, pool.ErrAcquireTimeout):
		return timedOut
	case errors.Is(err, pool.ErrNotAvailable):
		return notAvailable
	case errors.Is(err, pool.ErrSessionLost):
		return sessionLost
	case errors.Is(err, pool.ErrSessionLimit):
		return sessionLimit
	}
	return cancelled
}
