package faults

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// lane is one direction of a link: intake finds the frames in what comes in, decides what
// becomes of each, and queues the outcome; next hands that out when it is due. A frame
// that nothing may harm is queued piece by piece, so that a link holds no more than it must.
//
// All of it is guarded by the link's mu.
type lane struct {
	link *Link
	way  Direction

	// The frame that is coming in.
	frames int // that have begun
	head   []byte
	left   int    // bytes of the body that are to come, once head is complete
	whole  []byte // of a frame that may be harmed; nil for others
	pace   pace
	raw    bool // out of frame: all passes as it is
	cut    bool // nothing passes any more after an end of file that was injected

	queue  []*laneItem
	late   []*laneItem // held back, others overtake
	queued int         // bytes in queue and late
	due    time.Time   // of the last frame that was delayed

	midway  bool      // the item taken last does not end a frame
	current *laneItem // being read or written
	writing bool      // it is being written
	err     error     // how the stream has ended for the receiver
}

// pace says when a frame may pass.
type pace struct {
	due    time.Time     // zero: at once
	holds  []*LinkInjury // until these are healed
	begins []*LinkInjury // land when the frame has begun
}

// laneItem is what is to be passed on: a frame, a part of one, or an end.
type laneItem struct {
	data []byte
	end  error // the stream ends after data
	last bool  // a frame ends with it
	pace

	frame   int
	injury  *LinkInjury // lands when what was harmed is taken; nil: none
	harm    int         // which is the byte of data with that number, or the end if there is none
	outcome string
}

// take notes that the receiver has taken the first n bytes, or the end if those are all.
func (i *laneItem) take(n int) {
	i.data, i.harm = i.data[n:], i.harm-n
	if i.injury != nil && (i.harm < 0 || i.end != nil && len(i.data) == 0) {
		i.injury.landLocked(i.outcome)
	}
}

func (p *pace) held() bool {
	return slices.ContainsFunc(p.holds, func(i *LinkInjury) bool { return !i.healed })
}

// stalled reports whether the sender has to wait.
func (p *pace) stalled() bool {
	return slices.ContainsFunc(p.holds, func(i *LinkInjury) bool { return !i.healed && i.fault.Kind == FrameStall })
}

// usable returns why nothing can be written, or nil.
func (ln *lane) usable() error {
	if ln.link.closed {
		return io.ErrClosedPipe
	}
	return ln.err
}

// room reports whether more can be taken in.
func (ln *lane) room() bool {
	n := len(ln.queue)
	return ln.queued < laneBytes && (n == 0 || !ln.queue[n-1].stalled())
}

// pending reports whether something has been taken in that is about to pass, or that its
// sender has to wait for.
func (ln *lane) pending() bool {
	if ln.writing {
		return true
	}
	n := len(ln.queue)
	if n == 0 {
		return false
	}
	first := ln.queue[0]
	return !first.held() && !first.due.After(time.Now()) || ln.queue[n-1].stalled()
}

// unwritten returns how many bytes have been taken in that have not been written.
func (ln *lane) unwritten() int {
	if ln.current == nil {
		return ln.queued
	}
	return ln.queued + len(ln.current.data)
}

// intake takes bytes in, of which it keeps nothing.
func (ln *lane) intake(p []byte) {
	for len(p) > 0 && !ln.cut {
		if ln.raw {
			ln.push(p, true)
			return
		}
		if len(ln.head) == 0 {
			ln.beginFrame()
		}
		if missing := process.FrameHeaderBytes - len(ln.head); missing > 0 {
			n := min(missing, len(p))
			ln.head = append(ln.head, p[:n]...)
			ln.piece(p[:n])
			p = p[n:]
			if n == missing {
				ln.beginBody()
			}
			continue
		}
		n := min(ln.left, len(p))
		ln.left -= n
		ln.piece(p[:n])
		p = p[n:]
		if ln.left == 0 {
			ln.endFrame()
		}
	}
}

// beginFrame decides whether a frame may be harmed, and when it may pass.
func (ln *lane) beginFrame() {
	ln.frames++
	ln.whole, ln.pace = nil, pace{}
	for _, i := range slices.Clone(ln.link.injuries) {
		switch {
		case !i.fault.Direction.covers(ln.way):
		case !i.fault.paces():
			ln.whole = make([]byte, 0, process.FrameHeaderBytes)
		case i.skip > 0:
			i.skip--
		default:
			ln.slow(i)
			ln.pace.begins = append(ln.pace.begins, i)
			if !i.fault.lasts() {
				i.spendLocked()
			}
		}
	}
}

// slow lets the pace of what comes in be as an injury says.
func (ln *lane) slow(i *LinkInjury) {
	if i.fault.holds() {
		ln.pace.holds = append(ln.pace.holds, i)
		return
	}
	wait := i.fault.For
	if i.fault.Jitter > 0 {
		wait += time.Duration(i.rng.Int64N(int64(i.fault.Jitter) + 1))
	}
	due := time.Now()
	if ln.pace.due.After(due) { // another delay
		due = ln.pace.due
	}
	if due = due.Add(wait); due.Before(ln.due) {
		due = ln.due
	}
	ln.pace.due, ln.due = due, due
}

// beginBody takes note of the length.
func (ln *lane) beginBody() {
	length := uint64(binary.BigEndian.Uint32(ln.head))
	for _, i := range ln.pace.begins {
		what := "held until healed"
		if !i.fault.holds() {
			what = fmt.Sprintf("delayed by %v", time.Until(ln.pace.due))
		}
		i.landLocked(ln.describe(int64(length), what))
	}
	if length > uint64(ln.link.limit) {
		ln.raw = true
		ln.giveUpWhole()
		return
	}
	if ln.left = int(length); length == 0 {
		ln.endFrame()
	}
}

// describe is the evidence for what was done to the frame that is coming in.
func (ln *lane) describe(length int64, what string) string {
	return fmt.Sprintf("frame %d %s, %d bytes: %s", ln.frames, ln.way, length, what)
}

// piece takes a part of a frame.
func (ln *lane) piece(p []byte) {
	if ln.whole != nil {
		ln.whole = append(ln.whole, p...)
		return
	}
	ln.push(p, false) // if it is the last, endFrame will say so
}

// push queues a copy of p, behind the other parts of its frame if there are any. last says
// whether that ends the frame.
func (ln *lane) push(p []byte, last bool) {
	ln.queued += len(p)
	if n := len(ln.queue); n > 0 {
		if tail := ln.queue[n-1]; tail.frame == ln.frames && tail.injury == nil && tail.end == nil && !tail.last {
			tail.data, tail.last = append(tail.data, p...), last
			return
		}
	}
	ln.queue = append(ln.queue, &laneItem{data: slices.Clone(p), last: last, pace: ln.pace, frame: ln.frames})
}

// giveUpWhole queues what there is of a frame that might have been harmed.
func (ln *lane) giveUpWhole() {
	if p := ln.whole; len(p) > 0 {
		ln.whole = nil
		ln.push(p, ln.raw)
	}
	ln.whole = nil
}

// endFrame has a whole frame harmed, or queues it.
func (ln *lane) endFrame() {
	whole := ln.whole
	ln.head, ln.whole = ln.head[:0], nil
	if whole == nil {
		ln.queue[len(ln.queue)-1].last = true
		return
	}
	for _, i := range ln.link.injuries {
		if i.fault.paces() || !i.fault.Direction.covers(ln.way) {
			continue
		}
		h, ok := i.fault.harm(i.rng, whole, ln.link.limit)
		if !ok {
			continue
		}
		if i.skip > 0 {
			i.skip--
			continue
		}
		ln.pushHarmed(i, h, len(whole)-process.FrameHeaderBytes)
		return
	}
	ln.push(whole, true)
}

// pushHarmed queues what has become of a frame.
func (ln *lane) pushHarmed(i *LinkInjury, h harmed, bodyBytes int) {
	what := ln.describe(int64(bodyBytes), h.what)
	if !i.fault.lasts() {
		i.spendLocked()
	}
	i.harmed = what
	item := &laneItem{data: h.data, last: true, pace: ln.pace, frame: ln.frames, injury: i, harm: h.at, outcome: what}
	ln.queued += len(h.data)
	switch {
	case h.data == nil:
		i.landLocked(what)
	case h.late > 0:
		item.due = latest(item.due, time.Now().Add(h.late))
		ln.late = append(ln.late, item)
		i.landLocked(what)
	case h.end:
		item.injury, item.last = nil, false
		ln.queue = append(ln.queue, item, &laneItem{end: io.EOF, pace: ln.pace, injury: i, outcome: what})
		ln.cut = true
	default:
		ln.queue = append(ln.queue, item)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// finish takes the end of the stream in, which keeps the pace of frames.
func (ln *lane) finish(err error) {
	ln.giveUpWhole()
	if ln.cut {
		return
	}
	ln.pace = pace{due: ln.due}
	for _, i := range ln.link.injuries {
		if i.fault.Direction.covers(ln.way) && i.fault.paces() && i.skip == 0 {
			ln.slow(i)
		}
	}
	ln.queue = append(ln.queue, &laneItem{end: err, pace: ln.pace})
}

// next takes the item out that is due, or says when to ask again if that is known.
func (ln *lane) next() (item *laneItem, wake time.Time) {
	now := time.Now()
	if !ln.midway {
		if item, wake = ln.nextLate(now); item != nil {
			return item, wake
		}
	}
	if len(ln.queue) == 0 {
		return nil, wake
	}
	first := ln.queue[0]
	switch {
	case first.held(), first.end != nil && !ln.midway && len(ln.late) > 0:
		return nil, wake
	case first.due.After(now):
		if wake.IsZero() || first.due.Before(wake) {
			wake = first.due
		}
		return nil, wake
	}
	ln.queue = ln.queue[1:]
	ln.queued -= len(first.data)
	ln.midway = !first.last
	return first, wake
}

// nextLate is next for what was held back while others passed.
func (ln *lane) nextLate(now time.Time) (item *laneItem, wake time.Time) {
	for n, item := range ln.late {
		switch {
		case item.held():
		case !item.due.After(now):
			ln.late = slices.Delete(ln.late, n, n+1)
			ln.queued -= len(item.data)
			return item, wake
		case wake.IsZero() || item.due.Before(wake):
			wake = item.due
		}
	}
	return nil, wake
}

// take reads into p from what is due. If there is nothing, it says when to ask again, if
// that is known.
func (ln *lane) take(p []byte) (n int, wake time.Time, err error) {
	for n == 0 && ln.err == nil {
		if ln.current == nil {
			if ln.current, wake = ln.next(); ln.current == nil {
				return 0, wake, nil
			}
		}
		item := ln.current
		n = copy(p, item.data)
		if item.take(n); len(item.data) > 0 {
			break
		}
		ln.current, ln.err = nil, item.end
	}
	if n == 0 {
		err = ln.err
	}
	return n, wake, err
}
