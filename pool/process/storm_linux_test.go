package process_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// doorVariable names a socket that a worker connects to when it begins; it answers hello
// once it has read something from there.
const doorVariable = "POOLPROOF_TEST_DOOR"

// playGuest is a worker that asks at the door.
func playGuest(methods map[string]worker.Method) {
	door, err := net.Dial("unix", os.Getenv(doorVariable))
	if err != nil {
		panic(err)
	}
	if _, err := door.Read(make([]byte, 1)); err != nil {
		panic(err)
	}
	door.Close() // which the other side sees before hello is answered
	worker.Main(methods)
}

// reception counts the guests at a door.
type reception struct {
	arrived chan net.Conn

	mu         sync.Mutex
	open, most int // guarded by mu
}

func (r *reception) count(change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open += change
	r.most = max(r.most, r.open)
}

// admit lets a guest in and waits until it has passed.
func (r *reception) admit(t *testing.T, guest net.Conn) {
	t.Helper()
	defer guest.Close()
	r.count(-1)
	if _, err := guest.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := guest.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the guest says %v, want its end", err)
	}
}

// TestStartsInFlightAreBounded counts, at a door that they all come by, the processes that
// have begun and are not ready.
func TestStartsInFlightAreBounded(t *testing.T) {
	const size = 6
	for name, test := range map[string]struct{ concurrency, want int }{
		"one at a time":  {1, 1},
		"two":            {2, 2},
		"by the default": {0, pool.DefaultStartConcurrency},
		"by the size":    {size + 1, size}, // so the count would show more than the bounds above
	} {
		t.Run(name, func(t *testing.T) {
			door, err := net.Listen("unix", filepath.Join(t.TempDir(), "door"))
			if err != nil {
				t.Fatal(err)
			}
			r := &reception{arrived: make(chan net.Conn, size)}
			var accepting sync.WaitGroup
			defer accepting.Wait()
			defer door.Close()
			accepting.Go(func() {
				for {
					guest, err := door.Accept()
					if err != nil {
						return
					}
					r.count(1)
					r.arrived <- guest
				}
			})
			cfg := roleConfig("guest")
			cfg.Env = append(cfg.Env, doorVariable+"="+door.Addr().String())
			p := newPool(t, cfg, pool.Config[*process.Worker]{MinSize: size, MaxSize: size, StartConcurrency: test.concurrency})
			var waiting []net.Conn
			for admitted := range size {
				// Once as many as may are waiting, one is let in, which makes room for another.
				for len(waiting) < min(test.want, size-admitted) {
					select {
					case guest := <-r.arrived:
						waiting = append(waiting, guest)
					case <-time.After(patience):
						t.Fatalf("%d workers at the door, want %d", len(waiting), test.want)
					}
				}
				r.admit(t, waiting[0])
				waiting = waiting[1:]
			}
			eventually(t, "all are ready", func() bool { return p.Stat().Idle == size })
			if r.most != test.want {
				t.Errorf("up to %d starts in flight, want %d", r.most, test.want)
			}
		})
	}
}
