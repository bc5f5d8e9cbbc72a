package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

const (
	headRoom = process.FrameHeaderBytes + wire.PrefixBytes
	// errorBytes is kept in the reply to a batch for each call that has yet to be
	// answered, so that an error fits.
	errorBytes = 128
)

// answer runs a call and sends its result, or an error in its place.
func (s *server) answer(c *call) error {
	err := c.findPayload(s.memory)
	var result any
	if err == nil {
		result, err = s.dispatch(c)
	}
	answer, ok := result.(Answer)
	if !ok {
		answer.Result = result
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(c)
	if err == nil {
		s.startFrame()
		if err = s.encodeResult(c.id, answer.Result); err == nil {
			err = s.sendReply(answer.Payload)
			if err == nil || !errors.Is(err, process.ErrFrameTooLarge) {
				return err
			}
		}
	}
	s.startFrame()
	s.encodeError(c.id, err)
	if err := s.sendReply(nil); err != nil {
		return fmt.Errorf("worker: error reply: %w", err)
	}
	return nil
}

// answerBatch runs calls one after the other and sends all replies in one body.
func (s *server) answerBatch(calls []*call) error {
	var body bytes.Buffer
	s.mu.Lock()
	limit := s.limit
	s.mu.Unlock()
	separator := byte('[')
	for i, c := range calls {
		result, err := s.dispatch(c)
		c.cancel(nil)
		if answer, ok := result.(Answer); ok {
			result = answer.Result // a batch has no payloads
		}
		body.WriteByte(separator)
		separator = ','
		begin := body.Len()
		if err == nil {
			err = encodeResult(&body, c.id, result)
		}
		if err != nil {
			body.Truncate(begin)
			encodeError(&body, c.id, err)
		}
		if body.Len()+1+(len(calls)-i-1)*errorBytes > limit {
			body.Truncate(begin)
			encodeError(&body, c.id, &process.RemoteError{Code: process.CodeTooLarge, Message: "no room in the batch's frame"})
		}
	}
	body.WriteByte(']')
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startFrame()
	s.out.Write(body.Bytes())
	return s.sendPlain()
}

// startFrame empties s.out but for the room before a message.
func (s *server) startFrame() {
	if s.out.Cap() > keepBytes {
		s.out = bytes.Buffer{}
	}
	s.out.Reset()
	s.out.Write(make([]byte, headRoom))
}

func (s *server) encodeResult(id uint64, result any) error { return encodeResult(&s.out, id, result) }
func (s *server) encodeError(id uint64, err error)         { encodeError(&s.out, id, err) }

func encodeResult(out *bytes.Buffer, id uint64, result any) error {
	beginReply(out, id, `,"result":`)
	if err := encode(out, result); err != nil {
		return &process.RemoteError{Code: process.CodeInternal, Message: err.Error()}
	}
	out.WriteByte('}')
	return nil
}

func encodeError(out *bytes.Buffer, id uint64, err error) {
	var remote *process.RemoteError
	if !errors.As(err, &remote) {
		remote = &process.RemoteError{Code: process.CodeFailed, Message: err.Error()}
		if errors.Is(err, process.ErrFrameTooLarge) {
			remote.Code = process.CodeTooLarge
		}
	}
	begin := out.Len()
	beginReply(out, id, `,"error":`)
	if err := encode(out, remote); err != nil { // its data are no JSON
		out.Truncate(begin)
		encodeError(out, id, &process.RemoteError{Code: process.CodeInternal, Message: err.Error()})
		return
	}
	out.WriteByte('}')
}

func beginReply(out *bytes.Buffer, id uint64, member string) {
	out.WriteString(`{"jsonrpc":"2.0","id":`)
	if id == 0 {
		out.WriteString("null")
	} else {
		out.Write(strconv.AppendUint(out.AvailableBuffer(), id, 10))
	}
	out.WriteString(member)
}

func encode(out *bytes.Buffer, v any) error {
	if v == nil {
		out.WriteString("null")
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// sendReply sends the reply in s.out with a payload, unless that is nil. An error that
// wraps process.ErrFrameTooLarge means that nothing was sent.
func (s *server) sendReply(payload []byte) error {
	if payload == nil {
		return s.sendPlain()
	}
	if half := len(s.memory) / 2; len(payload) >= sharedThreshold && len(payload) <= half {
		if wire.Copy(s.memory[half:], payload) == nil {
			s.out.Truncate(s.out.Len() - 1) // the closing brace
			s.out.Write(wire.AppendRange(s.out.AvailableBuffer(), half, len(payload)))
			s.out.WriteByte('}')
			return s.sendPlain()
		}
	}
	return s.sendBinary(payload)
}

func (s *server) sendPlain() error {
	frame := s.out.Bytes()[headRoom-process.FrameHeaderBytes:]
	if err := process.SealFrame(frame, s.limit); err != nil {
		return err
	}
	_, err := s.channel.Write(frame)
	return err
}

// sendBinary sends what is in s.out with a payload, as little of it as pays through s.out.
func (s *server) sendBinary(payload []byte) error {
	header := s.out.Len() - headRoom
	if body := wire.PrefixBytes + header + len(payload); header > wire.MaxHeaderBytes || body > s.limit {
		return fmt.Errorf("%w: %d bytes, limit %d", process.ErrFrameTooLarge, body, s.limit)
	}
	body := wire.PrefixBytes + header + len(payload)
	first := min(len(payload), firstBytes)
	s.out.Write(payload[:first])
	frame := s.out.Bytes()
	wire.PutPrefix(frame, body) // a frame's header is written in the same way
	wire.PutPrefix(frame[process.FrameHeaderBytes:], header)
	if _, err := s.channel.Write(frame); err != nil || first == len(payload) {
		return err
	}
	_, err := s.channel.Write(payload[first:])
	return err
}
