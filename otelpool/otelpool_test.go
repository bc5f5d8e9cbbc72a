package otelpool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/otelpool"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errApp = errors.New("application error")

// values reads every metric: a number by name and attributes, and for histograms the number of
// values and their sum.
func values(t *testing.T, reader metric.Reader) map[string]string {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	add := func(name string, set attribute.Set, value string) {
		key := name
		for _, kv := range set.ToSlice() {
			if kv.Key == "poolproof.pool.name" && kv.Value.AsString() == "test" {
				continue
			}
			key += " " + kv.Value.AsString()
		}
		if !set.HasValue("poolproof.pool.name") {
			key += " without pool"
		}
		got[key] = value
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, fmt.Sprint(p.Value))
				}
			case metricdata.Histogram[float64]:
				if m.Unit != "s" {
					t.Errorf("%s has the unit %q, want s", m.Name, m.Unit)
				}
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, fmt.Sprintf("%d in %gs", p.Count, p.Sum))
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return got
}

// differences are what is in got and not in want, or the other way round.
func differences(got, want map[string]string) (list []string) {
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if got[key] != want[key] {
			list = append(list, fmt.Sprintf("%s is %q, want %q", key, got[key], want[key]))
		}
	}
	return list
}

// bench is a pool under observation.
type bench struct {
	*otelpool.Pool[*pooltest.Worker]
	t      *testing.T
	fakes  *pooltest.Fakes
	reader *metric.ManualReader
}

func newBench(t *testing.T, cfg otelpool.Config, wire func(*otelpool.Telemetry) func(pool.Event), adapt func(*pool.Config[*pooltest.Worker])) *bench {
	t.Helper()
	b := &bench{t: t, fakes: pooltest.NewFakes(t, 2), reader: metric.NewManualReader()}
	cfg.Name, cfg.MeterProvider = "test", metric.NewMeterProvider(metric.WithReader(b.reader))
	tel, err := otelpool.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	poolCfg := b.fakes.Config()
	poolCfg.MaxSize = 2
	poolCfg.Observer = wire(tel)
	if adapt != nil {
		adapt(&poolCfg)
	}
	if b.Pool, err = otelpool.Wrap(tel, pooltest.New(t, poolCfg).Pool); err != nil {
		t.Fatal(err)
	}
	return b
}

func wired(tel *otelpool.Telemetry) func(pool.Event) { return tel.Observer(nil) }

// do has the pool serve a call that takes so long and returns err.
func (b *bench) do(id pool.SessionID, takes time.Duration, want error) {
	b.t.Helper()
	err := b.Do(b.t.Context(), id, func(context.Context, *pooltest.Worker) error {
		time.Sleep(takes)
		return want
	})
	if !errors.Is(err, want) {
		b.t.Fatalf("Do: %v, want %v", err, want)
	}
}

// refused has the pool refuse an acquire.
func (b *bench) refused(ctx context.Context, id pool.SessionID, want error) {
	b.t.Helper()
	var start *pool.StartError
	if _, err := b.AcquireSession(ctx, id); !errors.Is(err, want) && !(want == errApp && errors.As(err, &start)) {
		b.t.Fatalf("AcquireSession: %v, want %v", err, want)
	}
}

func (b *bench) acquire(id pool.SessionID) pool.Lease[*pooltest.Worker] {
	b.t.Helper()
	lease, err := b.AcquireSession(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return lease
}

// history makes one of everything that is measured, and returns what differs from that.
func history(t *testing.T, wire func(*otelpool.Telemetry) func(pool.Event)) []string {
	b := newBench(t, otelpool.Config{}, wire, func(cfg *pool.Config[*pooltest.Worker]) {
		cfg.MaxWaiters, cfg.AcquireTimeout, cfg.MaxSessions = 1, 10*time.Second, 2
		cfg.HealthCheckPeriod = time.Hour
		cfg.StartBackoff = pool.Backoff{Min: time.Second, Max: time.Second}
	})
	b.fakes.EveryStart(pooltest.Start{Delay: 2 * time.Second})
	b.do("s", 3*time.Second, nil)    // worker 1: waits 2 s, used 3 s
	b.do("s", time.Second, errApp)   // used 1 s
	first, second := b.acquire("s"), // at once
		b.acquire("t") // worker 2: waits 2 s
	if _, err := b.TryAcquire(); !errors.Is(err, pool.ErrNotAvailable) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	waiting := make(chan struct{})
	go func() { b.refused(ctx, "", context.DeadlineExceeded); close(waiting) }()
	synctest.Wait()
	list := differences(pick(values(t, b.reader), "poolproof.worker.count", "poolproof.acquire.pending", "poolproof.session.count", "poolproof.worker.m"), map[string]string{
		"poolproof.worker.count starting": "0", "poolproof.worker.count idle": "0", "poolproof.worker.count checking": "0",
		"poolproof.worker.count leased": "2", "poolproof.worker.count stopping": "0", "poolproof.acquire.pending": "1",
		"poolproof.session.count bound": "2", "poolproof.session.count lost": "0", "poolproof.session.count unbound": "0",
		"poolproof.worker.min": "0", "poolproof.worker.max": "2",
	})
	b.refused(t.Context(), "", pool.ErrSaturated)
	<-waiting
	b.refused(t.Context(), "", pool.ErrAcquireTimeout) // 10 s
	b.refused(t.Context(), "u", pool.ErrSessionLimit)
	first.Discard(errApp) // used 17 s; session s is lost
	second.Release()      // used 15 s
	b.refused(t.Context(), "s", pool.ErrSessionLost)
	synctest.Wait()
	b.fakes.EveryStart(pooltest.Start{Delay: time.Second, Err: errApp})
	b.fakes.Kill(b, second.WorkerID())   // session t is lost
	b.refused(t.Context(), "", errApp)   // worker 3: waits 1 s
	b.refused(t.Context(), "", errApp)   // the back-off runs
	b.fakes.EveryStart(pooltest.Start{}) //
	time.Sleep(time.Minute)              //
	b.do("", time.Second, nil)           // worker 4: used 1 s
	b.fakes.Sicken(pool.WorkerID(4), errApp)
	time.Sleep(2 * time.Hour)
	b.fakes.Revoking()
	held := b.acquire("") // worker 5
	time.Sleep(time.Second)
	ended, stop := context.WithCancel(t.Context())
	stop()
	var revoked *pool.ShutdownError
	if err := b.Shutdown(ended); !errors.As(err, &revoked) {
		t.Fatalf("Shutdown: %v, want a *ShutdownError", err)
	}
	held.Release()
	b.refused(t.Context(), "", pool.ErrClosed)
	synctest.Wait()
	return append(list, differences(values(t, b.reader), historic())...)
}

// historic is what history must have left.
func historic() map[string]string {
	return map[string]string{
		"poolproof.worker.starts started": "4", "poolproof.worker.starts failed": "1",
		"poolproof.worker.create_time started": "4 in 4s", "poolproof.worker.create_time failed": "1 in 1s",
		"poolproof.worker.stops discarded": "1", "poolproof.worker.stops retired": "1",
		"poolproof.worker.stops unhealthy": "1", "poolproof.worker.stops revoked": "1",
		"poolproof.worker.use_time":            "6 in 38s",
		"poolproof.acquire.outcomes granted":   "6",
		"poolproof.acquire.outcomes cancelled": "1", "poolproof.acquire.outcomes closed": "1",
		"poolproof.acquire.outcomes saturated": "1", "poolproof.acquire.outcomes timed_out": "1",
		"poolproof.acquire.outcomes not_available": "1", "poolproof.acquire.outcomes session_lost": "1",
		"poolproof.acquire.outcomes session_limit": "1", "poolproof.acquire.outcomes start_failed": "2",
		"poolproof.acquire.timeouts":          "1",
		"poolproof.acquire.wait_time granted": "6 in 4s", "poolproof.acquire.wait_time cancelled": "1 in 5s",
		"poolproof.acquire.wait_time closed": "1 in 0s", "poolproof.acquire.wait_time saturated": "1 in 0s",
		"poolproof.acquire.wait_time timed_out": "1 in 10s", "poolproof.acquire.wait_time session_lost": "1 in 0s",
		"poolproof.acquire.wait_time session_limit": "1 in 0s", "poolproof.acquire.wait_time start_failed": "2 in 1s",
		"poolproof.session.losses": "2",
	}
}

// pick returns the values whose names begin so.
func pick(all map[string]string, prefixes ...string) map[string]string {
	got := map[string]string{}
	for key, value := range all {
		if slices.ContainsFunc(prefixes, func(p string) bool { return len(key) >= len(p) && key[:len(p)] == p }) {
			got[key] = value
		}
	}
	return got
}
