package pool_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Every benchmark runs the pool beside a reference in the same run, because only the
// ratio means something: a mutex with a slice of free workers (it never waits), the same
// with a queue of waiters that honours contexts, and the same with a map of sessions.
// docs/benchmarks.md says how to compare them.

type benchWorker struct {
	id int
	_  [56]byte
}

// pair acquires, calls hold unless it is nil, and releases. i picks the session.
type pair func(ctx context.Context, i int, hold func()) error

type peer struct {
	name string
	make func(b *testing.B, size int) pair
}

func newPool(b *testing.B, cfg pool.Config[*benchWorker]) *pool.Pool[*benchWorker] {
	b.Helper()
	cfg.Start = func(_ context.Context, id pool.WorkerID) (*benchWorker, error) {
		return &benchWorker{id: int(id)}, nil
	}
	cfg.MinSize = cfg.MaxSize
	p, err := pool.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Ready(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	return p
}

func poolPeer(name string, cfg pool.Config[*benchWorker]) peer {
	return peer{name, func(b *testing.B, size int) pair {
		cfg.MaxSize = size
		p := newPool(b, cfg)
		return func(ctx context.Context, _ int, hold func()) error {
			lease, err := p.Acquire(ctx)
			if err != nil {
				return err
			}
			if hold != nil {
				hold()
			}
			lease.Release()
			return nil
		}
	}}
}

func sessionPeer(name string, cfg pool.Config[*benchWorker]) peer {
	return peer{name, func(b *testing.B, size int) pair {
		cfg.MaxSize = size
		p := newPool(b, cfg)
		ids := sessionIDs()
		return func(ctx context.Context, i int, hold func()) error {
			lease, err := p.AcquireSession(ctx, pool.SessionID(ids[i%len(ids)]))
			if err != nil {
				return err
			}
			if hold != nil {
				hold()
			}
			lease.Release()
			return nil
		}
	}}
}

func sessionIDs() []string {
	ids := make([]string, 256)
	for i := range ids {
		ids[i] = fmt.Sprintf("session-%d", i)
	}
	return ids
}

func limits() pool.Config[*benchWorker] {
	return pool.Config[*benchWorker]{MaxLifetime: time.Hour, MaxIdleTime: time.Hour, SessionTTL: time.Hour}
}

func pools() []peer {
	return []peer{poolPeer("pool", pool.Config[*benchWorker]{}), poolPeer("pool-limits", limits())}
}

// run measures pairs of g goroutines, one of them if g is 0 and the benchmark's own.
func run(b *testing.B, size, g int, hold func(), peers ...peer) {
	for _, pe := range peers {
		b.Run("peer="+pe.name, func(b *testing.B) {
			do := pe.make(b, size)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.ReportAllocs()
			if g == 0 {
				for i := 0; b.Loop(); i++ {
					if err := do(ctx, i, hold); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			crowd(b, g, func(i int) error { return do(ctx, i, hold) })
		})
	}
}

// crowd has g goroutines share b.N pairs.
func crowd(b *testing.B, g int, do func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range g {
		wg.Go(func() {
			<-begin
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := do(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	close(begin)
	wg.Wait()
}

func BenchmarkAlone(b *testing.B) {
	run(b, 8, 0, nil, append([]peer{{"mutex-slice", newStack}}, pools()...)...)
}

func BenchmarkParallel(b *testing.B) {
	run(b, 16, runtime.GOMAXPROCS(0), nil, append([]peer{{"mutex-slice", newStack}}, pools()...)...)
}

// BenchmarkContended has many goroutines on 8 workers; the holder yields, so that others
// find the pool empty and wait.
func BenchmarkContended(b *testing.B) {
	for _, g := range []int{64, 1000} {
		b.Run(fmt.Sprintf("goroutines=%d", g), func(b *testing.B) {
			run(b, 8, g, runtime.Gosched, append([]peer{{"mutex-queue", newQueue}}, pools()...)...)
		})
	}
}

func BenchmarkSession(b *testing.B) {
	peers := []peer{
		{"mutex-slice-map", newKeyed},
		sessionPeer("pool", pool.Config[*benchWorker]{}),
		sessionPeer("pool-limits", limits()),
	}
	run(b, 8, 0, nil, peers...)
}

// newStack is the reference without waiting.
func newStack(_ *testing.B, size int) pair {
	var mu sync.Mutex
	free := make([]*benchWorker, 0, size)
	for i := range size {
		free = append(free, &benchWorker{id: i})
	}
	return func(ctx context.Context, _ int, hold func()) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		mu.Lock()
		w := free[len(free)-1]
		free = free[:len(free)-1]
		mu.Unlock()
		if hold != nil {
			hold()
		}
		mu.Lock()
		free = append(free, w)
		mu.Unlock()
		return nil
	}
}

// newKeyed is the reference with sessions.
func newKeyed(_ *testing.B, size int) pair {
	var mu sync.Mutex
	busy := make([]bool, size)
	bound := map[string]int{}
	ids := sessionIDs()
	return func(ctx context.Context, i int, _ func()) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := ids[i%len(ids)]
		mu.Lock()
		w, ok := bound[id]
		if !ok {
			w = len(bound) % size
			bound[id] = w
		}
		busy[w] = true
		mu.Unlock()
		mu.Lock()
		busy[w] = false
		mu.Unlock()
		return nil
	}
}

type queued struct {
	ch         chan *benchWorker
	next, prev *queued
}

// newQueue is the reference with waiting, in order of arrival and with contexts.
func newQueue(_ *testing.B, size int) pair {
	var mu sync.Mutex
	free := make([]*benchWorker, 0, size)
	for i := range size {
		free = append(free, &benchWorker{id: i})
	}
	var root queued
	root.next, root.prev = &root, &root
	spare := sync.Pool{New: func() any { return &queued{ch: make(chan *benchWorker, 1)} }}
	acquire := func(ctx context.Context) (*benchWorker, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		mu.Lock()
		if n := len(free) - 1; n >= 0 {
			w := free[n]
			free = free[:n]
			mu.Unlock()
			return w, nil
		}
		q := spare.Get().(*queued)
		q.prev, q.next = root.prev, &root
		q.prev.next, root.prev = q, q
		mu.Unlock()
		select {
		case w := <-q.ch:
			spare.Put(q)
			return w, nil
		case <-ctx.Done():
			return nil, ctx.Err() // no benchmark gets here
		}
	}
	return func(ctx context.Context, _ int, hold func()) error {
		w, err := acquire(ctx)
		if err != nil {
			return err
		}
		hold()
		mu.Lock()
		if q := root.next; q != &root {
			q.prev.next, q.next.prev = q.next, q.prev
			q.next, q.prev = nil, nil
			mu.Unlock()
			q.ch <- w
			return nil
		}
		free = append(free, w)
		mu.Unlock()
		return nil
	}
}
