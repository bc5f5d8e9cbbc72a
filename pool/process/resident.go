package process

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// residentPeriod is how often a worker's resident set is looked at.
const residentPeriod = 250 * time.Millisecond

// ResidentError reports that a worker's resident set is above Config.ResidentLimit. The
// worker is whole, but it is not Usable any more; a pool stops it, and its sessions are lost.
type ResidentError struct {
	ID           pool.WorkerID
	PID          int
	Bytes, Limit int64
}

// Error names the worker and both sizes.
func (e *ResidentError) Error() string {
	return fmt.Sprintf("process: worker %d, pid %d, has %d bytes of memory resident, limit %d", e.ID, e.PID, e.Bytes, e.Limit)
}

// resident looks at the resident set of a worker's process. All methods of a nil one are
// those of a worker without a limit.
type resident struct {
	worker pool.WorkerID
	pid    int
	limit  int64
	tell   func(error) // called once, if the limit is exceeded

	due  atomic.Bool // a look at release is due
	over atomic.Pointer[ResidentError]

	mu    sync.Mutex
	file  *os.File    // guarded by mu: the process's counts; nil once closed
	timer *time.Timer // guarded by mu
}

// begin looks for the first time, and from then on periodically until close.
func (r *resident) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(0, r.tick)
}

// tick looks, tells if the limit is exceeded, and else has itself called again.
func (r *resident) tick() {
	r.look()
	if over := r.over.Load(); over != nil {
		r.tell(over)
		return
	}
	r.due.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.timer.Reset(residentPeriod)
	}
}

// exceeded returns an error once the limit was exceeded. It is asked at every release, and
// looks only once in a period.
func (r *resident) exceeded() *ResidentError {
	if r == nil {
		return nil
	}
	if r.due.Load() && r.due.CompareAndSwap(true, false) {
		r.look()
	}
	return r.over.Load()
}

// look reads how much is resident. A process that is dead has nothing.
func (r *resident) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return
	}
	if bytes := residentBytes(r.file); bytes > r.limit {
		r.over.CompareAndSwap(nil, &ResidentError{ID: r.worker, PID: r.pid, Bytes: bytes, Limit: r.limit})
	}
}

// close ends the looking.
func (r *resident) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer.Stop()
	r.file.Close()
	r.file = nil
}

// residentBytes returns the resident set according to a statm file, or 0 if it cannot be
// read.
func residentBytes(statm *os.File) int64 {
	var buffer [128]byte
	n, _ := statm.ReadAt(buffer[:], 0)
	pages, field := int64(0), 0
	for _, c := range buffer[:n] {
		switch {
		case c == ' ':
			field++
		case field == 1 && '0' <= c && c <= '9':
			pages = pages*10 + int64(c-'0')
		}
	}
	return pages * int64(os.Getpagesize())
}
