package layers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/poolproof/poolproof/pool/process"
)

// object is the params of a method.
type object = map[string]any

// echoed says whether params come back as they were.
func (st *stage) echoed(m member, what, params string) {
	ctx, cancel := st.context()
	defer cancel()
	var result json.RawMessage
	err := m.Call(ctx, "echo", json.RawMessage(params), &result)
	var got, want any
	switch {
	case err != nil:
		st.say("  %s: %s", what, kind(err))
	case exactly(result, &got) != nil || exactly([]byte(params), &want) != nil || !reflect.DeepEqual(got, want):
		st.say("  %s: got %.200s", what, result)
	default:
		st.say("  %s: the same", what)
	}
}

// exactly decodes JSON without rounding integers.
func exactly(text []byte, into *any) error {
	if bytes.ContainsAny(text, ".eE") { // a fraction may be written in several ways
		return json.Unmarshal(text, into)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func echo(st *stage) {
	st.usual().with("", func(m member) {
		for _, text := range []struct{ what, params string }{
			{"an empty object", `{}`},
			{"constants", `[null,true,false,0,-1,9007199254740991]`},
			{"fractions", `[0.5,-2.25,1e-7,1.7976931348623157e+308,5e-324]`},
			{"nested", `{"a":[{"b":[[[]],{}]},"c"],"":{"d":null}}`},
			{"escapes", `["\"\\\/\b\f\n\r\t\u0000\u001f\u007f"]`},
			{"what HTML would escape", `["<a href='x'>&\u2028\u2029</a>"]`},
			{"text of many scripts", `{"größe":"Ελληνικά עברית 日本語 ไทย","𝄞":"👩🏽‍🚀 e\u0301 \ufeff"}`},
			{"deep", strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)},
			{"many members", "{" + strings.Join(numbered(2000, `"k%d":%[1]d`), ",") + "}"},
			{"large", `{"text":"` + strings.Repeat("größe ", 20_000) + `"}`},
		} {
			st.echoed(m, text.what, text.params)
		}
	})
}

func numbered(n int, format string) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return all
}

func integers(st *stage) {
	st.usual().with("", func(m member) {
		st.echoed(m, "64 bits", `[9007199254740993,9223372036854775807,-9223372036854775808,18446744073709551615]`)
		st.echoed(m, "more", `[123456789012345678901234567890]`)
	})
}

func errorReply(st *stage) {
	c := st.usual()
	for _, code := range []int{1, 17, 2147483647} {
		c.with("", func(m member) {
			st.call(m, "fail", object{"code": code, "message": "no \"größe\""})
			st.echoed(m, "afterwards", `{"x":1}`)
		})
	}
}

func unknownMethod(st *stage) {
	c := st.usual()
	for _, method := range []string{"absent", "größe", "__init__", "toString"} {
		c.with("", func(m member) { st.call(m, method, object{}) })
	}
	c.with("", func(m member) { st.echoed(m, "afterwards", `{"x":1}`) })
}

func badParams(st *stage) {
	c := st.usual()
	c.with("", func(m member) {
		st.call(m, "put", "text")
		st.call(m, "put", 12)
		st.call(m, "raw_echo", nil)
		st.call(m, "count", object{"n": 2, "size": 1}) // payloads, and no stream
		st.echoed(m, "afterwards", `{"x":1}`)
	})
}

// turns makes calls on one worker from several goroutines.
func turns(st *stage) {
	st.usual().with("", func(m member) {
		ctx, cancel := st.context()
		defer cancel()
		const callers = 8
		right := make([]bool, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				var got []int
				for n := range 10 {
					if m.Call(ctx, "echo", []int{i, n}, &got) != nil || !slices.Equal(got, []int{i, n}) {
						return
					}
				}
				right[i] = true
			})
		}
		wg.Wait()
		st.say("  each caller got its own replies: %v", !slices.Contains(right, false))
	})
}

// rawEchoed says whether a payload comes back as it was.
func (st *stage) rawEchoed(m member, size int) {
	what := fmt.Sprint(size, " bytes")
	if beyond := size - process.DefaultSharedThreshold; -1 <= beyond && beyond <= 1 {
		what = fmt.Sprintf("the threshold of shared memory, %+d", beyond)
	}
	ctx, cancel := st.context()
	defer cancel()
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i ^ i>>8 ^ i>>16)
	}
	got, err := m.CallRaw(ctx, "raw_echo", payload, make([]byte, 0, size/2))
	switch {
	case err != nil:
		st.say("  %s: %s", what, kind(err))
	case !bytes.Equal(got, payload):
		st.say("  %s: %d others", what, len(got))
	default:
		st.say("  %s: the same", what)
	}
}

// sizes are those around which something changes on the way.
func sizes() []int {
	const threshold = process.DefaultSharedThreshold
	return []int{0, 1, 4096, threshold - 1, threshold, threshold + 1, 65536, 1 << 20, 1<<20 + 1, 2 << 20}
}

func rawPayloads(st *stage) {
	c := st.open(func(o *opening) { o.SharedMemory = -1 })
	c.with("", func(m member) {
		for _, size := range sizes() {
			st.rawEchoed(m, size)
		}
		ctx, cancel := st.context()
		defer cancel()
		var result json.RawMessage
		rep := process.Reply{Result: &result}
		err := m.Exchange(ctx, &process.Request{Method: "raw_echo", Payload: []byte("raw")}, &rep)
		st.say("  in the general form: %s and %q, %v", outcome(result, err), rep.Payload, rep.HasPayload)
	})
}

func sharedPayloads(st *stage) {
	for _, size := range []int{8 << 20, 64 << 10} {
		st.say("memory of %d bytes", size)
		c := st.open(func(o *opening) { o.SharedMemory, o.FrameLimit = size, 3<<20 })
		c.with("", func(m member) {
			st.say("  announced: %v", slices.Contains(m.(*remote).Features(), process.FeatureSharedMemory))
			for _, size := range sizes() {
				st.rawEchoed(m, size)
			}
			st.rawEchoed(m, 4<<20-1) // above the frame limit
			st.echoed(m, "afterwards", `{"x":1}`)
		})
	}
}

const smallFrames = 64 << 10

// smallFrames returns a pool with a frame limit of that.
func (st *stage) smallFrames() *crew {
	return st.share("small frames", func(o *opening) { o.FrameLimit, o.SharedMemory = smallFrames, -1 })
}

func largeRequest(st *stage) {
	c := st.smallFrames()
	c.with("", func(m member) {
		st.echoed(m, "below the limit", `{"text":"`+strings.Repeat("x", smallFrames-1000)+`"}`)
		st.echoed(m, "above it", `{"text":"`+strings.Repeat("x", smallFrames)+`"}`)
		st.rawEchoed(m, smallFrames-1000)
		st.rawEchoed(m, smallFrames)
		st.echoed(m, "afterwards", `{"x":1}`)
	})
	c.with("", func(m member) { st.say("  usable: %v", m.Usable()) })
}

func largeResult(st *stage) {
	c := st.smallFrames()
	c.with("", func(m member) {
		st.call(m, "count", object{"n": 3})
		st.call(m, "count", object{"n": smallFrames})
		st.echoed(m, "afterwards", `{"x":1}`)
	})
}

func batch(st *stage) {
	c := st.usual()
	c.with("s", func(m member) {
		var results [8]json.RawMessage
		calls := []*process.BatchCall{
			{Method: "echo", Params: []int{1, 2}},
			{Method: "fail", Params: object{"code": 5, "message": "amid"}},
			{Method: "put", Params: object{"session": "s", "key": "k", "value": "v"}},
			{Method: "absent"},
			{Method: "get", Params: object{"session": "s", "key": "k"}},
			{Method: "count", Params: object{"n": 3}},
			{Method: "put", Params: "text"},
			{Method: "echo", Params: object{"last": true}},
		}
		for i, call := range calls {
			call.Result = &results[i]
		}
		ctx, cancel := st.context()
		defer cancel()
		st.say("  the batch: %s", kind(m.Batch(ctx, calls)))
		for i, call := range calls {
			st.say("  %s: %s", call.Method, outcome(results[i], call.Err))
		}
		st.call(m, "get", object{"session": "s", "key": "k"})
	})
}

func progress(st *stage) {
	st.usual().with("", func(m member) {
		ctx, cancel := st.context()
		defer cancel()
		var result json.RawMessage
		req := process.Request{Method: "steps", Params: object{"n": 5}, Progress: func(value json.RawMessage) {
			st.say("  progress: %s", outcome(value, nil))
		}}
		err := m.Exchange(ctx, &req, &process.Reply{Result: &result})
		st.say("  steps: %s", outcome(result, err))
		st.call(m, "steps", object{"n": 3}) // which nobody wants to know of
		st.echoed(m, "afterwards", `{"x":1}`)
	})
}

func logs(st *stage) {
	c := st.usual()
	c.with("", func(m member) {
		for _, level := range []string{"debug", "info", "warning", "error"} {
			st.call(m, "log", object{"level": level, "message": "größe " + level})
		}
	})
	for _, line := range []string{"debug größe debug", "info größe info", "warn größe warning", "error größe error"} {
		st.await("the record "+line, func() (bool, <-chan struct{}) { return c.log.has(line) })
		st.say("logged: %s", line)
	}
}

func noise(st *stage) {
	c := st.usual()
	for range 2 {
		c.with("", func(m member) {
			st.call(m, "noise", object{"bytes": 200_000})
			st.echoed(m, "afterwards", `{"x":1}`)
		})
	}
}

func stdio(st *stage) {
	c := st.open(func(o *opening) { o.Stdio = true })
	c.with("s", func(m member) {
		st.echoed(m, "echo", `{"x":"größe"}`)
		st.rawEchoed(m, 100_000)
		st.call(m, "put", object{"session": "s", "key": "k", "value": 1})
		st.call(m, "get", object{"session": "s", "key": "k"})
		st.call(m, "crash", object{"code": 3})
	})
	c.with("", func(m member) { st.echoed(m, "afterwards", `{"x":1}`) })
}

// tripwire is the params of sleep and nap whose encoding does something: the call has the
// worker to itself by then, and nothing has been sent.
type tripwire struct {
	seconds int
	trip    func()
}

func (t tripwire) MarshalJSON() ([]byte, error) {
	t.trip()
	return json.Marshal(object{"seconds": t.seconds})
}

// forGood is longer than any test.
const forGood = 3600

// cancelled calls a method that is cancelled as soon as it is sent.
func (st *stage) cancelled(m member, method string) {
	ctx, cancel := st.context()
	defer cancel()
	st.callIn(ctx, m, method, tripwire{forGood, cancel})
	st.say("  usable: %v", m.Usable())
}

func cancelNap(st *stage) {
	c := st.usual()
	for range 2 {
		c.with("s", func(m member) {
			st.call(m, "put", object{"session": "s", "key": "k", "value": 1})
			st.cancelled(m, "nap")
			st.echoed(m, "the next call", `{"mine":true}`)
			st.call(m, "get", object{"session": "s", "key": "k"})
		})
	}
}

func cancelSleep(st *stage) {
	c := st.usual()
	c.with("s", func(m member) { st.cancelled(m, "sleep") })
	c.with("s", func(member) {})
	c.with("", func(m member) {
		st.echoed(m, "the next call", `{"mine":true}`)
	})
}

func cancelSteps(st *stage) {
	c := st.usual()
	c.with("", func(m member) {
		ctx, cancel := st.context()
		defer cancel()
		req := process.Request{Method: "steps", Params: object{"n": 1 << 40}, Progress: func(json.RawMessage) { cancel() }}
		st.say("  steps: %s", kind(m.Exchange(ctx, &req, nil)))
		st.say("  usable: %v", m.Usable())
	})
	c.with("", func(m member) { st.echoed(m, "the next call", `{"mine":true}`) })
}

// lateContext has a deadline, which passes when the test says so.
type lateContext struct {
	context.Context
	passed chan struct{}
}

func (c lateContext) Done() <-chan struct{} { return c.passed }

func (c lateContext) Err() error {
	select {
	case <-c.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func deadline(st *stage) {
	c := st.usual()
	c.with("s", func(m member) {
		ctx := lateContext{context.Background(), make(chan struct{})}
		st.callIn(ctx, m, "sleep", tripwire{forGood, func() { close(ctx.passed) }})
		st.say("  usable: %v", m.Usable())
		st.echoed(m, "the next call", `{"mine":true}`)
	})
	c.with("s", func(member) {})
	c.with("", func(m member) { st.echoed(m, "the next call", `{"mine":true}`) })
}

func doneContext(st *stage) {
	c := st.usual()
	ctx, cancel := st.context()
	cancel()
	_, err := c.AcquireSession(ctx, "s")
	st.say("acquire: %s", kind(err))
	c.with("s", func(m member) {
		st.callIn(ctx, m, "sleep", object{"seconds": forGood})
		st.say("  usable: %v", m.Usable())
		st.echoed(m, "the next call", `{"mine":true}`)
	})
}
