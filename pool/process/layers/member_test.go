package layers_test

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// member is a worker of any layer, as scenarios see it. The methods that process.Worker has
// promise what they promise there.
type member interface {
	Call(ctx context.Context, method string, params, result any) error
	Exchange(ctx context.Context, req *process.Request, rep *process.Reply) error
	CallRaw(ctx context.Context, method string, payload, into []byte) ([]byte, error)
	Batch(ctx context.Context, calls []*process.BatchCall) error
	Usable() bool

	stream(ctx context.Context, req *process.Request) (flow, error)
	kill()   // it dies at once
	freeze() // it answers nothing any more
}

// flow is a process.Stream or what stands for one.
type flow interface {
	Next() bool
	Chunk() process.Chunk
	Err() error
	Result(result any) error
	Close() error
}

// remote is a worker behind a channel.
type remote struct {
	*process.Worker
	far *farEnd // nil: a process
}

func (r *remote) stream(ctx context.Context, req *process.Request) (flow, error) {
	s, err := r.Stream(ctx, req)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (r *remote) kill() {
	if r.far != nil {
		r.far.Close()
		return
	}
	r.signal(syscall.SIGKILL)
}

func (r *remote) freeze() {
	if r.far != nil {
		close(r.far.frozen)
		return
	}
	r.signal(syscall.SIGSTOP)
}

// signal is for workers that nothing else ends, so that the process is not reaped, and its
// number not another's.
func (r *remote) signal(sig syscall.Signal) {
	if err := syscall.Kill(r.PID(), sig); err != nil {
		panic(err)
	}
}

// farEnd is the worker's end of a pipe in memory.
type farEnd struct {
	net.Conn
	frozen chan struct{} // closed when nothing more is to be answered
}

func (f *farEnd) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	select {
	case <-f.frozen:
		_, _ = io.Copy(io.Discard, f.Conn) // until the host closes
		return 0, io.EOF
	default:
		return n, err
	}
}

// farEnds finds the far ends of a pool's workers.
type farEnds struct {
	mu  sync.Mutex
	all map[pool.WorkerID]*farEnd // guarded by mu
}

func (f *farEnds) put(id pool.WorkerID, far *farEnd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[pool.WorkerID]*farEnd)
	}
	f.all[id] = far
}

func (f *farEnds) get(id pool.WorkerID) *farEnd {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[id]
}
