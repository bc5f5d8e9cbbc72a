package process_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// hangUp closes a channel once the answer to hello has been taken, a moment later: at once,
// the host might hear of the end before it has read the answer.
type hangUp struct{ net.Conn }

func (h hangUp) Write(p []byte) (int, error) {
	time.AfterFunc(time.Millisecond, func() { h.Close() })
	return h.Conn.Write(p)
}

// TestStillbornWorkersAreBackedOffFrom counts, over virtual time, the starts of workers that
// answer hello and end.
func TestStillbornWorkersAreBackedOffFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts atomic.Int64
		var well atomic.Bool
		cfg := process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
			starts.Add(1)
			host, far := net.Pipe()
			channel := io.ReadWriteCloser(far)
			if !well.Load() {
				channel = hangUp{far}
			}
			go func() { _ = worker.Serve(context.Background(), channel, worker.Demo(nil)) }()
			return host, nil
		}}
		p, err := openPool(t, cfg, pool.Config[*process.Worker]{
			MinSize: 1, MaxSize: 1, StartBackoff: pool.Backoff{Min: time.Second, Max: time.Minute},
			Rand: func() float64 { return 1 }, // the delay whole
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()

		// 1 and 2 a millisecond apart; 3 after 1 s, 4 after 2 s more, then 4, 8, 16, 32 s.
		time.Sleep(63500 * time.Millisecond)
		if got := starts.Load(); got != 8 {
			t.Errorf("%d starts in a minute, want 8", got)
		}
		well.Store(true)
		if err := p.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		// One that lives ends the probation: its successor counts as started at once.
		lease, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease.Discard(nil)
		begin := time.Now()
		if lease, err = p.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		lease.Release()
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the next worker took %v, want no time", waited)
		}
	})
}
