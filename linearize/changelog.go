package linearize

import (
	"cmp"
	"math/bits"
	"runtime"
	"slices"
	"sync/atomic"
)

// changeLog is a list that many goroutines append to without a lock: each takes a number,
// which says the place. Chunk k has room for firstChanges<<k places.
type changeLog struct {
	taken  atomic.Uint64
	sealed atomic.Bool
	chunks [40]atomic.Pointer[[]changePlace]
}

type changePlace struct {
	filled atomic.Bool
	c      Change
}

const firstChanges = 64

// reset empties the log. Nobody may be adding to it.
func (l *changeLog) reset() {
	n := l.taken.Load()
	for k := range l.chunks {
		chunk := l.chunks[k].Load()
		switch {
		case chunk == nil:
		case k == 0:
			clear((*chunk)[:min(n, firstChanges)])
		default:
			l.chunks[k].Store(nil)
		}
	}
	l.taken.Store(0)
	l.sealed.Store(false)
}

// add appends c, unless the log is sealed.
func (l *changeLog) add(c Change) {
	if l.sealed.Load() {
		return
	}
	p := l.place(l.taken.Add(1) - 1)
	p.c = c
	p.filled.Store(true)
}

func (l *changeLog) place(n uint64) *changePlace {
	k := bits.Len64(n/firstChanges+1) - 1
	chunk := l.chunks[k].Load()
	if chunk == nil {
		fresh := make([]changePlace, firstChanges<<k)
		if l.chunks[k].CompareAndSwap(nil, &fresh) {
			chunk = &fresh
		} else {
			chunk = l.chunks[k].Load()
		}
	}
	return &(*chunk)[n-firstChanges*(1<<k-1)]
}

// seal ends the log and returns what is in it in order of Seq, and of arrival where that is
// the same. What is being added waits for a moment.
func (l *changeLog) seal() []Change {
	l.sealed.Store(true)
	n := l.taken.Load()
	all := make([]Change, 0, n)
	for i := range n {
		p := l.place(i)
		for !p.filled.Load() {
			runtime.Gosched()
		}
		all = append(all, p.c)
	}
	slices.SortStableFunc(all, func(a, b Change) int { return cmp.Compare(a.Seq, b.Seq) })
	if len(all) == 0 {
		return nil
	}
	return all
}
