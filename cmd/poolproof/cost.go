package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

const (
	costWorkers = 2
	costClients = 4
	costCalls   = 2000 // of each client
)

// cost is what a layer takes: a pool of costWorkers workers whose clients acquire, ping
// and release, each as soon as it has the answer.
type cost struct {
	Layer       string  `json:"layer"`
	StartMillis float64 `json:"start_ms"`    // until all workers are ready, over their number
	AloneP50    float64 `json:"alone_p50"`   // microseconds, of one client's acquire, ping and release
	AloneP99    float64 `json:"alone_p99"`   // the same
	CrowdedP50  float64 `json:"crowded_p50"` // the same of costClients clients, the wait for a worker included
	CrowdedP99  float64 `json:"crowded_p99"`
	PerSecond   float64 `json:"per_second"`          // of costClients clients together
	Descriptors float64 `json:"descriptors"`         // of the host, per worker
	Threads     float64 `json:"threads"`             // the same
	ResidentMiB float64 `json:"worker_resident_mib"` // of a worker's process; 0 if it has none
}

// subject is a pool whose cost is taken. T is what its workers are.
type subject[T any] struct {
	pool *pool.Pool[T]
	ping func(context.Context, T) error
	pid  func(T) int // nil: workers have no process
}

// costOf returns the cost of a layer.
func costOf(ctx context.Context, kind string, cfg process.Config) (*cost, error) {
	if kind == kindMemory {
		return takeCost(ctx, func() (subject[int], error) {
			p, err := pool.New(pool.Config[int]{
				MinSize: costWorkers, MaxSize: costWorkers,
				Start: func(_ context.Context, id pool.WorkerID) (int, error) { return int(id), nil },
			})
			return subject[int]{pool: p, ping: func(context.Context, int) error { return nil }}, err
		})
	}
	return takeCost(ctx, func() (subject[*process.Worker], error) {
		p, err := process.NewPool(cfg, pool.Config[*process.Worker]{MinSize: costWorkers, MaxSize: costWorkers})
		s := subject[*process.Worker]{pool: p, ping: func(ctx context.Context, w *process.Worker) error { return w.Ping(ctx) }}
		if kind == kindProcess {
			s.pid = func(w *process.Worker) int { return w.PID() }
		}
		return s, err
	})
}

// takeCost opens a pool, measures it and shuts it down.
func takeCost[T any](ctx context.Context, open func() (subject[T], error)) (_ *cost, err error) {
	descriptors, threads := hostResources()
	begin := time.Now()
	s, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.pool.Shutdown(ctx)) }()
	if err := s.pool.Ready(ctx); err != nil {
		return nil, err
	}
	c := &cost{StartMillis: float64(time.Since(begin).Microseconds()) / 1000 / costWorkers}
	alone, _, err := s.load(ctx, 1)
	if err != nil {
		return nil, err
	}
	crowded, elapsed, err := s.load(ctx, costClients)
	if err != nil {
		return nil, err
	}
	c.AloneP50, c.AloneP99 = micros(alone, 50), micros(alone, 99)
	c.CrowdedP50, c.CrowdedP99 = micros(crowded, 50), micros(crowded, 99)
	c.PerSecond = float64(crowded.TotalCount()) / elapsed.Seconds()
	nowDescriptors, nowThreads := hostResources()
	c.Descriptors = float64(nowDescriptors-descriptors) / costWorkers
	c.Threads = float64(nowThreads-threads) / costWorkers
	if s.pid != nil {
		c.ResidentMiB, err = s.resident(ctx)
	}
	return c, err
}

// load lets clients call until each has done so costCalls times. The histogram holds
// nanoseconds.
func (s *subject[T]) load(ctx context.Context, clients int) (*hdrhistogram.Histogram, time.Duration, error) {
	all := newHistogram()
	errs := make([]error, clients)
	var mu sync.Mutex
	var done sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		done.Go(func() {
			own := newHistogram()
			for range costCalls {
				began := time.Now()
				if errs[i] = s.pool.Do(ctx, "", s.ping); errs[i] != nil {
					return
				}
				_ = own.RecordValue(min(time.Since(began).Nanoseconds(), own.HighestTrackableValue()))
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(own)
		})
	}
	done.Wait()
	return all, time.Since(begin), errors.Join(errs...)
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute), 3)
}

func micros(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtQuantile(percentile)) / 1000
}

// resident returns the mean of the workers' resident sets in MiB.
func (s *subject[T]) resident(ctx context.Context) (float64, error) {
	var total, count float64
	var leases []pool.Lease[T]
	defer func() {
		for _, l := range leases {
			l.Release()
		}
	}()
	for range costWorkers {
		l, err := s.pool.Acquire(ctx)
		if err != nil {
			return 0, err
		}
		leases = append(leases, l)
		statm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid(l.Worker())), "statm"))
		if err != nil {
			return 0, fmt.Errorf("resident set of worker %d: %w", l.WorkerID(), err)
		}
		fields := strings.Fields(string(statm))
		if len(fields) < 2 {
			return 0, fmt.Errorf("resident set of worker %d: statm is %q", l.WorkerID(), statm)
		}
		pages, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, fmt.Errorf("resident set of worker %d: %w", l.WorkerID(), err)
		}
		total += pages * float64(os.Getpagesize()) / (1 << 20)
		count++
	}
	return total / count, nil
}

// hostResources counts this process's open descriptors and threads.
func hostResources() (descriptors, threads int) {
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return 0
		}
		return len(entries)
	}
	return count("/proc/self/fd"), count("/proc/self/task")
}

// printCosts writes the costs of the layers side by side.
func printCosts(out io.Writer, costs []cost) {
	if len(costs) == 0 {
		return
	}
	fmt.Fprintf(out, "\nA ping through a pool of %d workers: alone, and %d clients together.\n", costWorkers, costClients)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "layer\tready\talone p50\tp99\ttogether p50\tp99\tper second\tdescriptors\tthreads\tresident")
	for i := range costs {
		c := &costs[i]
		resident := "-"
		if c.ResidentMiB > 0 {
			resident = fmt.Sprintf("%.1f MiB", c.ResidentMiB)
		}
		fmt.Fprintf(w, "%s\t%.2f ms\t%.1f µs\t%.1f µs\t%.1f µs\t%.1f µs\t%.0f\t%.1f\t%.1f\t%s\n", c.Layer, c.StartMillis,
			c.AloneP50, c.AloneP99, c.CrowdedP50, c.CrowdedP99, math.Round(c.PerSecond), c.Descriptors, c.Threads, resident)
	}
	w.Flush()
}
