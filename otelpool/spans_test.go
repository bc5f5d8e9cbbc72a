package otelpool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolproof/poolproof/otelpool"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// record returns a bench whose spans are recorded.
func record(t *testing.T, cfg otelpool.Config) (*bench, *tracetest.SpanRecorder, trace.Tracer) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	cfg.TracerProvider = provider
	b := newBench(t, cfg, wired, func(cfg *pool.Config[*pooltest.Worker]) { cfg.AcquireTimeout = time.Second })
	return b, spans, provider.Tracer("test")
}

// describe gives a span in one line: name, how long it took, its attributes in order, its
// status and what was recorded.
func describe(s sdktrace.ReadOnlySpan) string {
	attrs := s.Attributes()
	slices.SortFunc(attrs, func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", s.Name(), s.EndTime().Sub(s.StartTime()))
	for _, kv := range attrs {
		fmt.Fprintf(&b, " %s=%s", strings.TrimPrefix(string(kv.Key), "poolproof."), kv.Value.String())
	}
	fmt.Fprintf(&b, " %s %q", s.Status().Code, s.Status().Description)
	for _, e := range s.Events() {
		fmt.Fprintf(&b, " %s", e.Name)
	}
	return b.String()
}

func wantSpans(t *testing.T, spans *tracetest.SpanRecorder, want ...string) {
	t.Helper()
	var got []string
	for _, s := range spans.Ended() {
		got = append(got, describe(s))
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if begun, ended := len(spans.Started()), len(spans.Ended()); begun != ended {
		t.Errorf("%d spans begun, %d ended", begun, ended)
	}
	spans.Reset()
}

func TestSpansOfDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, spans, tracer := record(t, otelpool.Config{})
		b.fakes.EveryStart(pooltest.Start{Delay: 500 * time.Millisecond})
		ctx, parent := tracer.Start(t.Context(), "parent")
		err := b.Do(ctx, "secret", func(ctx context.Context, _ *pooltest.Worker) error {
			_, child := tracer.Start(ctx, "child")
			child.End()
			time.Sleep(time.Second)
			return nil
		})
		parent.End()
		if err != nil {
			t.Fatal(err)
		}
		ended := spans.Ended()
		ids := map[string]trace.SpanID{}
		parents := map[string]trace.SpanID{}
		for _, s := range ended {
			ids[s.Name()], parents[s.Name()] = s.SpanContext().SpanID(), s.Parent().SpanID()
		}
		for child, parent := range map[string]string{"poolproof.acquire": "parent", "poolproof.call": "parent", "child": "poolproof.call"} {
			if parents[child] != ids[parent] {
				t.Errorf("the parent of %s is not %s", child, parent)
			}
		}
		wantSpans(t, spans,
			`poolproof.acquire 500ms acquire.outcome=granted lease.fresh=true lease.token=1 pool.name=test session.present=true worker.id=1 Unset ""`,
			`child 0s Unset ""`,
			`poolproof.call 1s lease.fresh=true lease.token=1 pool.name=test session.present=true worker.id=1 Unset ""`,
			`parent 1.5s Unset ""`,
		)
	})
}

// However the function ends, both spans do, and the worker's fate is that of pool.Pool.
func TestSpansOfEveryEnding(t *testing.T) {
	const acquired = `poolproof.acquire 0s acquire.outcome=granted lease.fresh=false lease.token=1 pool.name=test session.present=false worker.id=1 Unset ""`
	call := func(status string) string {
		return `poolproof.call 0s lease.fresh=false lease.token=1 pool.name=test session.present=false worker.id=1 ` + status
	}
	for name, c := range map[string]struct {
		f     func() error
		want  string
		alive int
	}{
		"nil":    {func() error { return nil }, call(`Unset ""`), 1},
		"error":  {func() error { return errApp }, call(`Error "application error" exception`), 1},
		"panic":  {func() error { panic("as planned") }, call(`Error "otelpool: the function panicked or ended its goroutine" exception`), 0},
		"goexit": {func() error { runtime.Goexit(); return nil }, call(`Error "otelpool: the function panicked or ended its goroutine" exception`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, spans, _ := record(t, otelpool.Config{})
				go func() {
					defer func() { _ = recover() }()
					_ = b.Do(t.Context(), "", func(context.Context, *pooltest.Worker) error { return c.f() })
				}()
				synctest.Wait()
				wantSpans(t, spans, acquired, c.want)
				if got := len(b.fakes.Alive()); got != c.alive {
					t.Errorf("%d workers live, want %d", got, c.alive)
				}
			})
		})
	}
}

func TestSpansOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, spans, _ := record(t, otelpool.Config{SessionIDs: true})
		held := []pool.Lease[*pooltest.Worker]{b.acquire(""), b.acquire("s")}
		spans.Reset()
		if err := b.Do(t.Context(), "s", nil); !errors.Is(err, pool.ErrAcquireTimeout) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.refused(ctx, "", context.Canceled)
		caused, blame := context.WithCancelCause(t.Context())
		blame(pool.ErrClosed)
		b.refused(caused, "", pool.ErrClosed)
		wantSpans(t, spans,
			`poolproof.acquire 1s acquire.outcome=timed_out pool.name=test session.id=s session.present=true Error "pool: acquire timed out: context deadline exceeded" exception`,
			`poolproof.acquire 0s acquire.outcome=cancelled pool.name=test session.present=false Error "context canceled" exception`,
			`poolproof.acquire 0s acquire.outcome=cancelled pool.name=test session.present=false Error "pool: closed" exception`,
		)
		for _, l := range held {
			l.Release()
		}
		lease, err := b.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease.Release()
		wantSpans(t, spans, `poolproof.acquire 0s acquire.outcome=granted lease.fresh=false lease.token=3 pool.name=test session.present=false worker.id=1 Unset ""`)
	})
}

// A wrapped pool is a layer like any other.
func TestWrappedPoolAsALayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, spans, _ := record(t, otelpool.Config{})
		chain, err := fallback.New(fallback.Config[*pooltest.Worker]{
			Layers: []fallback.Layer[*pooltest.Worker]{{Name: "only", Pool: b.Pool}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chain.Do(t.Context(), "", func(context.Context, *pooltest.Worker) error { return nil }); err != nil {
			t.Error(err)
		}
		wantSpans(t, spans, `poolproof.acquire 0s acquire.outcome=granted lease.fresh=false lease.token=1 pool.name=test session.present=false worker.id=1 Unset ""`)
	})
}
