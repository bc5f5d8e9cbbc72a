package faults

import (
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

const (
	// laneBytes is how much of what has not been passed on a link takes in each direction
	// before it takes no more: as much as a pipe does. To that comes one frame, which may
	// be needed whole to be harmed.
	laneBytes = 64 << 10
	// chunkBytes is how much a link reads or writes at once of a frame that is not harmed.
	chunkBytes = 32 << 10
)

// Link stands between a host and one worker, and harms the frames that pass in either
// direction as it is told. What is not harmed passes as it comes, also in part; the ends of
// both streams do too. It is the host's side of the channel and serves as what
// process.Config.Wrap returns. A frame that may be harmed passes once it has come whole, or
// the sender's end has come. A link works in a testing/synctest bubble, if it was made there.
//
// A sender that announces a frame above the limit is in the wrong itself; what it sends from
// then on passes as it is, and nothing lands on it any more.
//
// All methods may be called concurrently.
type Link struct {
	id     pool.WorkerID
	inner  io.ReadWriteCloser
	limit  int    // of a frame's body
	forget func() // called once closed; nil: nobody to tell

	cut   sync.Once      // closes inner
	pumps sync.WaitGroup // read from inner and write to it
	turn  chan struct{}  // holds a value unless a Write is under way
	gone  chan struct{}  // closed when closed is set

	mu       sync.Mutex
	changed  *sync.Cond    // of mu: anything below has changed, or a time has come
	to, from lane          // guarded by mu
	injuries []*LinkInjury // guarded by mu: those that may harm frames yet, in order
	unlanded []*LinkInjury // guarded by mu: those that Landed may wait for
	severed  bool          // guarded by mu: a fault has closed inner
	closed   bool          // guarded by mu
}

// NewLink returns a link around the channel to a worker, which it takes over: whoever owns
// the link must Close it. Closing channel must unblock its reads and writes. frameLimit is
// process.Config.FrameLimit; 0 means process.DefaultFrameLimit.
func NewLink(id pool.WorkerID, channel io.ReadWriteCloser, frameLimit int) *Link {
	l := newLink(id, channel, frameLimit)
	l.start()
	return l
}

func newLink(id pool.WorkerID, channel io.ReadWriteCloser, frameLimit int) *Link {
	if frameLimit == 0 {
		frameLimit = process.DefaultFrameLimit
	}
	l := &Link{id: id, inner: channel, limit: frameLimit, turn: make(chan struct{}, 1), gone: make(chan struct{})}
	l.changed = sync.NewCond(&l.mu)
	l.to, l.from = lane{link: l, way: ToWorker}, lane{link: l, way: FromWorker}
	l.turn <- struct{}{}
	return l
}

// start begins to pass frames.
func (l *Link) start() {
	l.pumps.Go(l.pumpFrom)
	l.pumps.Go(l.pumpTo)
}

// ID returns whose channel it is.
func (l *Link) ID() pool.WorkerID { return l.id }

// Inject has the link harm frames as f says, the next one that fits, or all until the injury
// is healed. Frames that have begun are spared. If several faults fit one frame, the one
// injected first has it, but for FrameDelay, FrameSilence and FrameStall, which come on top.
// It does not block, and panics if f.Check complains.
func (l *Link) Inject(f FrameFault) *LinkInjury {
	if err := f.Check(); err != nil {
		panic(err)
	}
	i := &LinkInjury{link: l, fault: f, skip: f.Skip, landed: make(chan struct{}), over: make(chan struct{})}
	if f.Rand != nil {
		i.rng = rand.New(rand.NewPCG(f.Rand.Uint64(), f.Rand.Uint64()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i.since[0], i.since[1] = l.to.frames, l.from.frames
	if l.closed {
		i.endLocked("its channel is closed")
		return i
	}
	l.injuries = append(l.injuries, i)
	l.unlanded = append(l.unlanded, i)
	return i
}

// Read reads what comes from the worker. It blocks until there is something, until the
// stream has ended, with io.EOF or the channel's own error, or until Close, with
// io.ErrClosedPipe.
func (l *Link) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed {
		n, wake, err := l.from.take(p)
		if n > 0 || err != nil {
			l.changed.Broadcast() // there is room
			return n, err
		}
		l.await(wake)
	}
	return 0, io.ErrClosedPipe
}

// Write writes to the worker. It blocks until the channel has taken p or the link holds what
// it has not, as a fault wants it; until the channel fails, with its error; or until Close,
// with io.ErrClosedPipe. Writes take turns.
func (l *Link) Write(p []byte) (int, error) {
	select {
	case <-l.turn:
	case <-l.gone:
		return 0, io.ErrClosedPipe
	}
	defer func() { l.turn <- struct{}{} }()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 0; n < len(p); {
		for l.to.usable() == nil && !l.to.room() {
			l.changed.Wait()
		}
		if err := l.to.usable(); err != nil {
			return max(0, n-l.to.unwritten()), err
		}
		end := min(n+chunkBytes, len(p))
		l.to.intake(p[n:end])
		n = end
		l.changed.Broadcast()
	}
	for l.to.usable() == nil && l.to.pending() {
		l.changed.Wait()
	}
	if err := l.to.usable(); err != nil && (l.closed || !l.severed) { // whose frame was truncated does not know
		return max(0, len(p)-l.to.unwritten()), err
	}
	return len(p), nil
}

// Close closes the channel, unblocks Read and Write, drops what was held, and returns when
// nothing of the link is left. Injuries that have not landed never will. Close may be called
// again, and concurrently.
func (l *Link) Close() error {
	l.mu.Lock()
	first := !l.closed
	if first {
		l.closed = true
		close(l.gone)
		l.injuries = nil
		l.changed.Broadcast()
	}
	l.mu.Unlock()
	err := l.closeInner()
	l.pumps.Wait() // which may have news of what was taken
	l.mu.Lock()
	for _, i := range slices.Clone(l.unlanded) {
		i.endLocked("its channel was closed")
	}
	l.mu.Unlock()
	if first && l.forget != nil {
		l.forget()
	}
	return err
}

// closeInner closes the channel, once.
func (l *Link) closeInner() (err error) {
	l.cut.Do(func() { err = l.inner.Close() })
	return err
}

// await waits until something has changed, or for a time unless that is zero.
func (l *Link) await(wake time.Time) {
	if !wake.IsZero() {
		timer := time.AfterFunc(time.Until(wake), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.changed.Broadcast()
		})
		defer timer.Stop()
	}
	l.changed.Wait()
}

// pumpFrom takes what the worker sends.
func (l *Link) pumpFrom() {
	chunk := make([]byte, chunkBytes)
	for l.awaitRoom() {
		n, err := l.inner.Read(chunk)
		l.mu.Lock()
		l.from.intake(chunk[:n])
		if err != nil {
			if l.severed {
				err = io.EOF
			}
			l.from.finish(err)
		}
		l.changed.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// awaitRoom waits until more can be taken from the worker, and reports whether it ever will.
func (l *Link) awaitRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && !l.from.cut && !l.from.room() {
		l.changed.Wait()
	}
	return !l.closed && !l.from.cut
}

// pumpTo writes to the worker what is due.
func (l *Link) pumpTo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed {
		item, wake := l.to.next()
		if item == nil {
			l.await(wake)
			continue
		}
		l.to.current, l.to.writing = item, true
		l.severed = item.end != nil
		l.mu.Unlock()
		n, err := l.inner.Write(item.data)
		if item.end != nil {
			l.closeInner()
			err = io.ErrClosedPipe
		}
		l.mu.Lock()
		l.to.writing = false
		item.take(n)
		if err == nil || item.end != nil {
			l.to.current = nil
		}
		l.changed.Broadcast()
		if err != nil {
			l.to.err = err
			return
		}
	}
}
