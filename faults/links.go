package faults

import (
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/poolproof/poolproof/pool"
)

// Links makes a Link for each worker of a pool and knows those that are open. The zero value
// is ready to use, with process.Config.Wrap set to its method Wrap. All methods may be
// called concurrently.
type Links struct {
	// FrameLimit is process.Config.FrameLimit. Zero: process.DefaultFrameLimit.
	FrameLimit int
	// Opened is told of each link before anything passes, hello included, so that faults
	// can be injected into a start. It must not block. Nil: nobody is told.
	Opened func(l *Link)

	mu   sync.Mutex
	open map[pool.WorkerID]*Link // guarded by mu
}

// Wrap returns the link around a worker's channel. Links forgets it when it has been closed.
func (ls *Links) Wrap(id pool.WorkerID, channel io.ReadWriteCloser) io.ReadWriteCloser {
	l := newLink(id, channel, ls.FrameLimit)
	l.forget = func() { ls.forget(l) }
	if ls.Opened != nil {
		ls.Opened(l)
	}
	ls.mu.Lock()
	if ls.open == nil {
		ls.open = make(map[pool.WorkerID]*Link)
	}
	ls.open[id] = l
	ls.mu.Unlock()
	l.start()
	return l
}

// Of returns the link of a worker, or nil if its channel is not open.
func (ls *Links) Of(id pool.WorkerID) *Link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.open[id]
}

// Open returns the workers whose channels are open, in order.
func (ls *Links) Open() []pool.WorkerID {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Sorted(maps.Keys(ls.open))
}

func (ls *Links) forget(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.open[l.id] == l {
		delete(ls.open, l.id)
	}
}
