package otelpool

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolproof/poolproof/pool"
)

// Pool is a pool.Pool whose acquires and calls make spans. Make one with Wrap. It can be
// used wherever a pool.Pool can be, a layer of package fallback for one.
type Pool[T any] struct {
	*pool.Pool[T]
	t     *Telemetry
	watch metric.Registration
}

// Wrap returns p with spans, and has its Stat reported until Close or Shutdown has returned. The
// pool's Observer must be t's, or the counts stay at nothing.
func Wrap[T any](t *Telemetry, p *pool.Pool[T]) (*Pool[T], error) {
	watch, err := t.Watch(p)
	if err != nil {
		return nil, err
	}
	return &Pool[T]{Pool: p, t: t, watch: watch}, nil
}

// Acquire is pool.Pool's, in a span.
func (p *Pool[T]) Acquire(ctx context.Context) (pool.Lease[T], error) {
	return p.AcquireSession(ctx, "")
}

// AcquireSession is pool.Pool's, in a span.
func (p *Pool[T]) AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[T], error) {
	spanCtx, span := p.t.tracer.Start(ctx, "poolproof.acquire", trace.WithAttributes(p.t.about(id)...))
	began := time.Now()
	lease, err := p.Pool.AcquireSession(spanCtx, id)
	how := outcomeOf(err)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), err) {
		how = cancelled // whatever the cause is
	}
	p.t.waited.Record(spanCtx, time.Since(began).Seconds(), p.t.outcome[how])
	span.SetAttributes(attribute.String("poolproof.acquire.outcome", how))
	if err == nil {
		span.SetAttributes(aboutLease(lease)...)
	}
	end(span, err)
	return lease, err
}

// Do is pool.Pool's, in two spans: one around the acquire, one around f.
func (p *Pool[T]) Do(ctx context.Context, id pool.SessionID, f func(ctx context.Context, worker T) error) error {
	lease, err := p.AcquireSession(ctx, id)
	if err != nil {
		return err
	}
	ctx, span := p.t.tracer.Start(ctx, "poolproof.call", trace.WithAttributes(append(p.t.about(id), aboutLease(lease)...)...))
	err = errAborted
	returned := false
	defer func() {
		if returned {
			lease.Release()
		} else {
			lease.Discard(err)
		}
		end(span, err)
	}()
	err = f(ctx, lease.Worker())
	returned = true
	return err
}

var errAborted = errors.New("otelpool: the function panicked or ended its goroutine")

// Close is pool.Pool's. Afterwards Stat is not reported any more.
func (p *Pool[T]) Close() error { return p.Shutdown(context.Background()) }

// Shutdown is pool.Pool's. Afterwards Stat is not reported any more.
func (p *Pool[T]) Shutdown(ctx context.Context) error {
	err := p.Pool.Shutdown(ctx)
	if left := p.watch.Unregister(); left != nil {
		return errors.Join(err, left)
	}
	return err
}

// about is the attributes of every span.
func (t *Telemetry) about(id pool.SessionID) []attribute.KeyValue {
	attrs := []attribute.KeyValue{t.name, attribute.Bool("poolproof.session.present", id != "")}
	if id != "" && t.cfg.SessionIDs {
		attrs = append(attrs, attribute.String("poolproof.session.id", string(id)))
	}
	return attrs
}

// aboutLease is the attributes of a lease. IDs count from one, so that they fit.
func aboutLease[T any](l pool.Lease[T]) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("poolproof.worker.id", int64(l.WorkerID())),
		attribute.Int64("poolproof.lease.token", int64(l.Token())),
		attribute.Bool("poolproof.lease.fresh", l.Fresh()),
	}
}

func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
