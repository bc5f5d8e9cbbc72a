package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ProtocolVersion is the version of docs/protocol.md that this package speaks.
const ProtocolVersion = 1

// The methods that the protocol itself defines. Every worker answers MethodHello and
// MethodPing; one that wants to know when a session is over announces
// MethodSessionEnded among its methods.
const (
	MethodHello        = "hello"
	MethodPing         = "ping"
	MethodSessionEnded = "session_ended"
)

// ChannelVariable is the environment variable that tells a worker which descriptors it
// reads requests from and writes replies to, as in "3,4".
const ChannelVariable = "POOLPROOF_CHANNEL"

// The codes of error replies; those above -32100 and below -32000 are this protocol's
// own, the others JSON-RPC's.
const (
	CodeInvalidRequest = -32600
	CodeUnknownMethod  = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603 // the result cannot be encoded
	CodeFailed         = -32000 // the method raised an exception, panicked or returned an error
	CodeTooLarge       = -32001 // the result exceeds the frame limit
	CodeNoHello        = -32002 // a call came before hello
)

// HelloParams is what the host says in its hello.
type HelloParams struct {
	Protocol   int `json:"protocol"`
	FrameLimit int `json:"frame_limit"` // bytes of a body, in both directions
}

// Hello is a worker's answer to hello.
type Hello struct {
	Protocol int      `json:"protocol"`
	PID      int      `json:"pid"`      // of the process that serves the channel
	Instance string   `json:"instance"` // a random token of this incarnation, never empty
	Methods  []string `json:"methods"`  // besides hello and ping
}

// Pong is a worker's answer to ping.
type Pong struct {
	Instance string `json:"instance"` // as in Hello
}

// SessionEndedParams are the params of session_ended.
type SessionEndedParams struct {
	Session string `json:"session"`
}

var (
	// ErrBroken is wrapped by every error after which the worker cannot be used again:
	// a call was cancelled or timed out, the protocol was violated, the worker went
	// away, or it was stopped. The cause is wrapped beside it. Retrying on another
	// worker may help.
	ErrBroken = errors.New("process: worker unusable")

	// ErrProtocol reports that the worker broke the rules of the channel, such as by
	// answering with a wrong id. It comes together with ErrBroken, or from Start.
	ErrProtocol = errors.New("process: protocol violated")

	// ErrStopped is the cause given to calls on a worker that Stop was called on. It
	// comes together with ErrBroken.
	ErrStopped = errors.New("process: worker stopped")
)

// VersionError reports that a worker speaks another version of the protocol. Retrying
// cannot help.
type VersionError struct {
	Got, Want int
}

// Error gives both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("process: worker speaks protocol version %d, want %d", e.Got, e.Want)
}

// RemoteError is an error reply. The worker stays usable. A method of a Go worker may
// return one to choose code, message and data.
type RemoteError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Error gives the message and the code.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("process: worker answered with error %d: %s", e.Code, e.Message)
}

// Traceback returns where in the worker the error arose, or "" if it did not say.
func (e *RemoteError) Traceback() string {
	var data struct {
		Traceback string `json:"traceback"`
	}
	if json.Unmarshal(e.Data, &data) != nil {
		return ""
	}
	return data.Traceback
}

// reply is an answer on the wire. It is filled again and again; its raw fields keep
// their memory.
type reply struct {
	Version json.RawMessage `json:"jsonrpc"`
	ID      uint64          `json:"id"`
	Method  json.RawMessage `json:"method"`
	Result  json.RawMessage `json:"result"`
	Error   *RemoteError    `json:"error"`
}

// parse fills r from the body of a frame, of which it keeps nothing. Any error wraps
// ErrProtocol.
func (r *reply) parse(body []byte, id uint64) error {
	if cap(r.Result) > retainBytes {
		r.Result = nil
	}
	*r = reply{Version: r.Version[:0], Method: r.Method[:0], Result: r.Result[:0]}
	if result, ok := plainResult(body, id); ok {
		r.Result = append(r.Result, result...)
		return nil
	}
	switch err := json.Unmarshal(body, r); {
	case err != nil:
		return fmt.Errorf("%w: malformed reply: %w", ErrProtocol, err)
	case string(r.Version) != `"2.0"`:
		return fmt.Errorf("%w: reply has version %.20q, want 2.0", ErrProtocol, r.Version)
	case len(r.Method) > 0:
		return fmt.Errorf("%w: worker sent a request, method %.40s", ErrProtocol, r.Method)
	case r.ID != id:
		return fmt.Errorf("%w: reply has id %d, want %d", ErrProtocol, r.ID, id)
	case (r.Error == nil) == (len(r.Result) == 0):
		return fmt.Errorf("%w: reply must have a result or an error", ErrProtocol)
	}
	return nil
}

// plainResult returns the result in body if that is written in the way most workers write
// it, which takes no allocation to see: whatever is one JSON value between this prefix and
// the closing brace is the result, and there is nothing else.
func plainResult(body []byte, id uint64) ([]byte, bool) {
	var buffer [64]byte
	prefix := append(buffer[:0], `{"jsonrpc":"2.0","id":`...)
	prefix = append(strconv.AppendUint(prefix, id, 10), `,"result":`...)
	result, ok := bytes.CutPrefix(body, prefix)
	if !ok {
		return nil, false
	}
	result, ok = bytes.CutSuffix(result, []byte("}"))
	return bytes.TrimSpace(result), ok && json.Valid(result)
}

// check reports what is wrong with a worker's answer to hello.
func (h *Hello) check() error {
	switch {
	case h.Protocol != ProtocolVersion:
		return &VersionError{Got: h.Protocol, Want: ProtocolVersion}
	case h.Instance == "":
		return fmt.Errorf("%w: hello without an instance token", ErrProtocol)
	case h.PID <= 0:
		return fmt.Errorf("%w: hello with pid %d", ErrProtocol, h.PID)
	}
	return nil
}
