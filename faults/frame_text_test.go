package faults

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// wireForm returns the frame of a message, in the binary form if there is a payload.
func wireForm(text, payload string) []byte {
	body := []byte(text)
	if payload != "" {
		body = append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text+payload...)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// eachVouchedBit calls visit with each copy of a frame in which one bit was flipped that the
// protocol vouches for, and returns how many there were.
func eachVouchedBit(frame []byte, visit func(at int, flipped []byte)) (bits int) {
	parsed := parseFrame(frame)
	for _, span := range parsed.vouched() {
		for at := span.from; at < span.to; at++ {
			for bit := range 8 {
				if flippedSpace(frame[at], bit) {
					continue
				}
				flipped := append([]byte(nil), frame...)
				flipped[at] ^= 1 << bit
				visit(at, flipped)
				bits++
			}
		}
	}
	return bits
}

// No bit that the protocol vouches for can be flipped in a reply without that the host
// notices: it never takes the reply for one.
func TestHostNoticesEachVouchedBitOfAReply(t *testing.T) {
	for name, frame := range map[string][]byte{
		"plain":   wireForm(`{"jsonrpc":"2.0","id":2,"result":"right"}`, ""),
		"spaced":  wireForm("{\"id\": 2, \"jsonrpc\": \"2.0\",\t\"result\": \"right\" }", ""),
		"binary":  wireForm(`{"jsonrpc":"2.0","id":2,"result":"right"}`, "payload"),
		"error":   wireForm(`{"jsonrpc":"2.0","id":2,"error":{"code":5,"message":"no"}}`, ""),
		"unknown": wireForm(`{"jsonrpc":"2.0","extra":[1],"id":2,"result":"right"}`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			bits := eachVouchedBit(frame, func(at int, flipped []byte) {
				synctest.Test(t, func(t *testing.T) {
					if answer, err := replied(t, flipped); !errors.Is(err, process.ErrBroken) {
						t.Errorf("byte %d, %q: got %q, error %v; want ErrBroken", at, flipped, answer, err)
					}
				})
			})
			synctest.Test(t, func(t *testing.T) {
				if answer, err := replied(t, frame); name != "error" && (err != nil || answer != "right") {
					t.Errorf("unharmed: got %q, error %v", answer, err)
				}
			})
			if bits < 8*25 {
				t.Errorf("only %d bits of %q are vouched for", bits, frame)
			}
		})
	}
}

// replied makes a call whose worker sends those bytes in place of a reply.
func replied(t *testing.T, bytes []byte) (answer string, err error) {
	dial := func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, remote := net.Pipe()
		go func() {
			defer remote.Close()
			frames := process.NewFrameReader(remote, 1<<16)
			for _, reply := range [][]byte{wireForm(`{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"pid":1,"instance":"x","methods":[],"features":["binary"]}}`, ""), bytes} {
				if _, err := frames.Next(); err != nil {
					return
				}
				remote.Write(reply)
			}
			io.Copy(io.Discard, remote)
		}()
		return host, nil
	}
	w, err := process.Start(t.Context(), process.Config{Dial: dial}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = w.Call(ctx, "m", nil, &answer)
	return answer, err
}

// Nor in a request without that the worker does: it never sends a result for it.
func TestWorkerNoticesEachVouchedBitOfARequest(t *testing.T) {
	for name, frame := range map[string][]byte{
		"plain":   wireForm(`{"jsonrpc":"2.0","id":2,"method":"echo","params":"right"}`, ""),
		"binary":  wireForm(`{"jsonrpc":"2.0","id":2,"method":"raw_echo"}`, "payload"),
		"batch":   wireForm(`[{"jsonrpc":"2.0","id":2,"method":"echo","params":1},{"jsonrpc":"2.0","id":3,"method":"pid"}]`, ""),
		"private": wireForm(`{"jsonrpc":"2.0","id":2,"method":"ping"}`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			eachVouchedBit(frame, func(at int, flipped []byte) {
				synctest.Test(t, func(t *testing.T) {
					if reply := requested(t, flipped); parsesAsAnswer(reply, name == "batch") {
						t.Errorf("byte %d, %q: the worker answered %s", at, flipped, reply)
					}
				})
			})
			synctest.Test(t, func(t *testing.T) {
				if reply := requested(t, frame); !parsesAsAnswer(reply, name == "batch") {
					t.Errorf("unharmed: the worker answered %s", reply)
				}
			})
		})
	}
}

// requested sends bytes in place of a request to a demo worker and returns its reply, or nil
// if there is none.
func requested(t *testing.T, bytes []byte) []byte {
	host, remote := net.Pipe()
	defer host.Close()
	go worker.Serve(context.Background(), remote, worker.Demo(func(int) { remote.Close() }))
	host.Write(wireForm(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"frame_limit":65536}}`, ""))
	frames := process.NewFrameReader(host, 1<<16)
	if _, err := frames.Next(); err != nil {
		t.Fatal(err)
	}
	host.SetDeadline(time.Now().Add(time.Second))
	host.Write(bytes)
	reply, err := frames.Next()
	if err != nil {
		return nil
	}
	f := parseFrame(append(make([]byte, 4), reply...))
	return append([]byte(nil), f.whole[f.text.from:f.text.to]...)
}

// parsesAsAnswer reports whether a host would take a reply for the result of request 2, or
// for those of 2 and 3.
func parsesAsAnswer(reply []byte, batch bool) bool {
	type answer struct {
		ID     int
		Result json.RawMessage
	}
	answers := make([]answer, 1)
	var err error
	if batch {
		err = json.Unmarshal(reply, &answers)
	} else {
		err = json.Unmarshal(reply, &answers[0])
	}
	if err != nil || batch && len(answers) != 2 {
		return false
	}
	ids := 0
	for _, a := range answers {
		if a.Result == nil {
			return false
		}
		ids += a.ID
	}
	return ids == 2 && !batch || ids == 5 && batch
}

// Whatever a frame holds, its two parts are all of it, and apart.
func FuzzFrameParts(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":2,"result":{"id":3}}`))
	f.Add([]byte("\x00\x00\x00\x08{\"id\":1}payload"))
	f.Add([]byte(`[{"id":1,"\u0069d":2},[],{"a" : {} , "id" : 7}]`))
	f.Add([]byte("\x00\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		parsed := parseFrame(frame)
		at := 0
		vouched := parsed.vouched()
		for n, span := range parsed.unvouched() {
			if vouched[n] != (frameSpan{at, span.from}) || span.to < span.from || span.from < at {
				t.Fatalf("vouched %v, unvouched %v", vouched, parsed.unvouched())
			}
			at = span.to
		}
		if total := totalBytes(vouched) + totalBytes(parsed.unvouched()); total != len(frame) {
			t.Fatalf("%d bytes, want %d", total, len(frame))
		}
		for _, members := range parsed.messages {
			for _, m := range members {
				var name string
				if json.Unmarshal(frame[m.key.from:m.key.to], &name) != nil || name != m.name || !json.Valid(frame[m.value.from:m.value.to]) {
					t.Fatalf("member %q is %q: %q", m.name, frame[m.key.from:m.key.to], frame[m.value.from:m.value.to])
				}
			}
		}
	})
}

// A number can be replaced by a longer one in either form, and all lengths fit.
func TestReplacedNumber(t *testing.T) {
	for _, payload := range []string{"", "raw"} {
		frame := wireForm(`{"jsonrpc":"2.0","id":2,"result":{"protocol":1,"instance":"x","methods":[]}}`, payload)
		parsed := parseFrame(frame)
		id, _ := parsed.member("id")
		want := wireForm(`{"jsonrpc":"2.0","id":4567,"result":{"protocol":1,"instance":"x","methods":[]}}`, payload)
		if got := parsed.replaced(id.value, 4567); string(got) != string(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		version, ok := parsed.version()
		if got := parsed.replaced(version, 88); !ok || !strings.Contains(string(got), `"protocol":88,`) {
			t.Errorf("version: got %q, %v", got, ok)
		}
	}
}
