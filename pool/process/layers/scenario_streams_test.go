package layers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/pool/process"
)

// streaming begins a stream and has the consumer read it; it is closed at the end.
func (st *stage) streaming(ctx context.Context, m member, req process.Request, consume func(s flow)) {
	s, err := m.stream(ctx, &req)
	if err != nil {
		st.say("  %s: %s", req.Method, kind(err))
		return
	}
	consume(s)
	st.say("  %s: closed %s, usable: %v", req.Method, kind(s.Close()), m.Usable())
}

// readAll reads a stream of numbers, and says how it ends.
func (st *stage) readAll(s flow, size int) {
	read, right := 0, true
	for s.Next() {
		c := s.Chunk()
		right = right && int(c.Seq) == read && string(c.Value) == fmt.Sprint(read) && len(c.Payload) == size
		read++
	}
	var result json.RawMessage
	err := s.Result(&result)
	st.say("  %d chunks, in order and right: %v; the end, but once: %s, %v", read, right, outcome(result, err), !s.Next())
}

func wholeStream(st *stage) {
	c := st.usual()
	c.with("", func(m member) {
		ctx, cancel := st.context()
		defer cancel()
		for _, window := range []int{0, 1, 3, 100} {
			for _, of := range [][2]int{{0, 0}, {1, 5000}, {8, 0}, {50, 5000}} {
				n, size := of[0], of[1]
				st.say("  window %d", window)
				req := process.Request{Method: "count", Params: object{"n": n, "size": size}, Window: window}
				st.streaming(ctx, m, req, func(s flow) {
					if err := s.Result(nil); err != process.ErrStreamOpen {
						st.say("  a result before the end: %s", kind(err))
					}
					st.readAll(s, size)
				})
			}
		}
		st.say("  a method that does not stream")
		st.streaming(ctx, m, process.Request{Method: "echo", Params: []int{7}}, func(s flow) { st.readAll(s, 0) })
		st.say("  without a stream")
		st.call(m, "count", object{"n": 4})
	})
}

func leftStream(st *stage) {
	c := st.usual()
	for _, read := range []int{0, 1, 20} {
		c.with("s", func(m member) {
			ctx, cancel := st.context()
			defer cancel()
			st.streaming(ctx, m, process.Request{Method: "count", Params: object{"n": 1 << 40}, Window: 4}, func(s flow) {
				st.say("  left after %d chunks", read)
				for range read {
					if !s.Next() {
						st.say("  it ended: %s", kind(s.Err()))
						return
					}
				}
			})
			st.echoed(m, "the next call", `{"mine":true}`)
		})
	}
}

func cancelledStream(st *stage) {
	c := st.usual()
	c.with("s", func(m member) {
		ctx, cancel := st.context()
		st.streaming(ctx, m, process.Request{Method: "count", Params: object{"n": 1 << 40}}, func(s flow) {
			st.say("  a chunk: %v", s.Next())
			cancel()
			st.say("  a chunk: %v, %s", s.Next(), kind(s.Err()))
			st.say("  the result: %s", kind(s.Result(nil)))
		})
		st.echoed(m, "the next call", `{"mine":true}`)
	})
}

func failedStream(st *stage) {
	c := st.usual()
	for _, n := range []int{0, 5, 30} {
		c.with("s", func(m member) {
			ctx, cancel := st.context()
			defer cancel()
			st.streaming(ctx, m, process.Request{Method: "falter", Params: object{"n": n, "code": 5}, Window: 5}, func(s flow) {
				st.readAll(s, 0)
			})
			st.echoed(m, "the next call", `{"mine":true}`)
		})
	}
}

func deadStream(st *stage) {
	c := st.usual()
	for _, n := range []int{0, 5, 30} {
		c.with("s", func(m member) {
			ctx, cancel := st.context()
			defer cancel()
			st.streaming(ctx, m, process.Request{Method: "die", Params: object{"n": n, "code": 3}, Window: 5}, func(s flow) {
				st.readAll(s, 0)
			})
		})
		c.with("s", func(member) {})
		c.EndSession("s")
	}
	c.with("s", func(m member) { st.echoed(m, "at last", `{"mine":true}`) })
}

// slowStream has a worker that logs each chunk before it sends it, and is looked at only
// once it stands at the end of its window.
func slowStream(st *stage) {
	const window, n = 4, 20
	c := st.usual()
	begun := func(i int) string { return fmt.Sprint("info chunk ", i) }
	c.with("", func(m member) {
		ctx, cancel := st.context()
		defer cancel()
		st.streaming(ctx, m, process.Request{Method: "narrate", Params: object{"n": n}, Window: window}, func(s flow) {
			st.await("the worker to fill the window", func() (bool, <-chan struct{}) { return c.log.has(begun(window)) })
			ahead, read := 0, 0
			for {
				ahead = max(ahead, c.begun()-1-read) // one is begun and waits
				if !s.Next() {
					break
				}
				read++
			}
			st.say("  %d chunks, then %s; never more than %d ahead: %v", read, kind(s.Err()), window, ahead <= window)
		})
	})
}

// begun returns how many chunks a worker has said that it begins.
func (c *crew) begun() (n int) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	for _, line := range c.log.lines {
		if strings.HasPrefix(line, "info chunk ") {
			n++
		}
	}
	return n
}
