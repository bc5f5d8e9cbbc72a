package layers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// fault is a way for fakes to be wrong.
type fault string

const (
	noFault           fault = ""
	strictMoves       fault = "a strict session goes on elsewhere"
	deadIsUsable      fault = "a dead worker is used again"
	frozenIsWell      fault = "a frozen worker passes its checks"
	errorKills        fault = "an error costs the worker"
	progressIsLost    fault = "progress is lost"
	batchIsShifted    fault = "answers of a batch are exchanged"
	windowIsIgnored   fault = "a stream runs ahead of its consumer"
	sizeIsIgnored     fault = "what is too large is sent"
	cancelKills       fault = "cancelling costs the worker"
	cancelledIsKept   fault = "a worker amid a call is used again"
	lateReply         fault = "a late reply reaches the next caller"
	streamErrorIsLost fault = "a stream that fails looks complete"
	streamIsCut       fault = "a stream lacks its last chunk"
	sessionsMix       fault = "sessions share their state"
	sessionsStay      fault = "a session's state outlives it"
	payloadIsCut      fault = "a payload lacks its last byte"
	codesDiffer       fault = "an error has another code"
	logsAreLost       fault = "logs are lost"
	paramsUnchecked   fault = "params are not checked"
	resultsUnbounded  fault = "a result exceeds the limit"
)

func failed(code int, format string, args ...any) fakeAnswer {
	return fakeAnswer{err: &process.RemoteError{Code: code, Message: fmt.Sprintf(format, args...)}}
}

func done(result any) fakeAnswer {
	text, err := json.Marshal(result)
	if err != nil {
		return failed(process.CodeInternal, "%v", err)
	}
	return fakeAnswer{result: text}
}

// serve does what the method says.
func (c *fakeCall) serve() fakeAnswer {
	f := c.f
	var p struct {
		worker.Item
		Seconds float64
		N, Size int
		Code    int
		Level   string
		Message string
	}
	if c.method != "echo" && len(c.params) > 0 {
		if err := json.Unmarshal(c.params, &p); err != nil && f.fault != paramsUnchecked {
			return failed(process.CodeInvalidParams, "%v", err)
		}
	}
	switch c.method {
	case "echo":
		return fakeAnswer{result: c.params}
	case "raw_echo":
		if c.payload == nil {
			return failed(process.CodeInvalidParams, "want a payload")
		}
		if f.fault == payloadIsCut && len(c.payload) > 0 {
			return fakeAnswer{result: json.RawMessage("null"), payload: c.payload[1:]}
		}
		return fakeAnswer{result: json.RawMessage("null"), payload: c.payload}
	case "put":
		c.session(p.Session)[p.Key] = p.Value
		return done(true)
	case "get":
		if value := c.session(p.Session)[p.Key]; value != nil {
			return fakeAnswer{result: value}
		}
		return done(nil)
	case process.MethodSessionEnded:
		if f.fault != sessionsStay {
			delete(f.sessions, p.Session)
		}
		return done(true)
	case "sleep", "nap":
		return c.wait(time.Duration(p.Seconds * float64(time.Second)))
	case "count", "falter", "die", "narrate":
		return c.numbers(p.N, p.Size, p.Code)
	case "steps":
		for i := range p.N {
			if err := c.send(fakeEvent{progress: json.RawMessage(fmt.Sprintf(`{"step":%d}`, i))}); err != nil {
				return fakeAnswer{err: err}
			}
		}
		return done(p.N)
	case "fail":
		if f.fault == codesDiffer {
			p.Code++
		}
		return failed(p.Code, "%s", p.Message)
	case "log":
		c.log(p.Level, p.Message)
		return done(true)
	case "crash":
		f.kill()
		return done(true)
	}
	return failed(process.CodeUnknownMethod, "no method %s", c.method)
}

// session returns the state of a session.
func (c *fakeCall) session(name string) map[string]json.RawMessage {
	if c.f.fault == sessionsMix {
		name = ""
	}
	if c.f.sessions[name] == nil {
		c.f.sessions[name] = make(map[string]json.RawMessage)
	}
	return c.f.sessions[name]
}

// wait sleeps; a nap can be cancelled.
func (c *fakeCall) wait(d time.Duration) fakeAnswer {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.f.gone:
	case <-c.cancelled:
		return failed(process.CodeCancelled, "cancelled")
	}
	return done(true)
}

// numbers streams the numbers below n, each with a payload of size bytes if size is above
// 0, or gathers them where no stream was asked for.
func (c *fakeCall) numbers(n, size, code int) fakeAnswer {
	all := []int{}
	if !c.streams && size > 0 {
		return failed(process.CodeInvalidParams, "ask for a stream")
	}
	for i := range n {
		if c.method == "narrate" {
			c.log("info", fmt.Sprint("chunk ", i))
		}
		if !c.streams {
			all = append(all, i)
			continue
		}
		if c.f.fault == streamIsCut && i == n-1 {
			break
		}
		e := fakeEvent{chunk: json.RawMessage(fmt.Sprint(i))}
		if size > 0 {
			e.payload = make([]byte, size)
		}
		if err := c.send(e); err != nil {
			return fakeAnswer{err: err}
		}
	}
	switch {
	case c.method == "falter":
		return failed(code, "faltered")
	case c.method == "die":
		c.f.kill()
		return done(nil)
	case c.streams:
		return done(n)
	}
	a := done(all)
	if limit := c.f.cfg.FrameLimit; limit > 0 && len(a.result) > limit && c.f.fault != resultsUnbounded {
		return failed(process.CodeTooLarge, "%d bytes", len(a.result))
	}
	return a
}

func (c *fakeCall) log(level, message string) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError}
	if c.f.cfg.Logger != nil && c.f.fault != logsAreLost {
		c.f.cfg.Logger.Log(context.Background(), levels[level], message, "worker", uint64(c.f.id))
	}
}
