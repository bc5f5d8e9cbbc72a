package process

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

const (
	// FrameHeaderBytes is the size of a frame's header: the length of the body as an
	// unsigned big-endian number.
	FrameHeaderBytes = 4
	// DefaultFrameLimit bounds a frame's body in bytes, on both sides.
	DefaultFrameLimit = 16 << 20
	// maxFrameLimit is the longest body that a header can announce and an int hold.
	maxFrameLimit = 1<<31 - 1
	// retainBytes bounds the buffers that are kept between frames, so that one large
	// frame does not cost its memory for the rest of the worker's life.
	retainBytes = 1 << 20
	// placeBytes is the size from which a payload is read straight to where it belongs;
	// copying a smaller one costs less than the reads of its own.
	placeBytes = 8 << 10
)

// ErrFrameTooLarge reports a body longer than the frame limit. Returned by a call, it
// means that the request was not sent and that the worker is unharmed, unless
// ErrBroken is wrapped beside it: then the worker announced such a frame. Retrying
// cannot help.
var ErrFrameTooLarge = errors.New("process: frame exceeds the limit")

// SealFrame writes the header into the first FrameHeaderBytes of frame, which its body
// follows. It returns an error wrapping ErrFrameTooLarge, and leaves frame as it was,
// if the body is longer than limit bytes. It panics if there is no room for the header.
func SealFrame(frame []byte, limit int) error {
	return sealHeader(frame, len(frame)-FrameHeaderBytes, limit)
}

// sealHeader is SealFrame for a body that is not all in frame.
func sealHeader(frame []byte, body, limit int) error {
	if body > min(limit, maxFrameLimit) {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrFrameTooLarge, body, limit)
	}
	binary.BigEndian.PutUint32(frame[:FrameHeaderBytes], uint32(body))
	return nil
}

// FrameReader reads frames. It is not safe for concurrent use.
type FrameReader struct {
	source *bufio.Reader
	limit  int
	head   [FrameHeaderBytes]byte
	body   []byte
}

// NewFrameReader returns a reader of the frames in source whose bodies have at most
// limit bytes. It reads ahead, so nobody else may read from source afterwards.
func NewFrameReader(source io.Reader, limit int) *FrameReader {
	return &FrameReader{source: bufio.NewReader(source), limit: limit}
}

// SetLimit changes the limit for the frames that Next has yet to read.
func (f *FrameReader) SetLimit(limit int) { f.limit = limit }

// Next returns the body of the next frame, which is valid until the following call. It
// blocks as the source does. At the end of file between frames the error is io.EOF
// itself; inside a frame it wraps io.ErrUnexpectedEOF. A length above the limit gives
// an error wrapping ErrFrameTooLarge before anything is allocated. After an error the
// position in the stream is unknown and the reader must not be used again.
func (f *FrameReader) Next() ([]byte, error) {
	length, err := f.begin()
	if err != nil {
		return nil, err
	}
	f.body = grow(f.body, length)
	if err := f.fill(f.body, 0, length); err != nil {
		return nil, err
	}
	return f.body, nil
}

// NextParts is like Next, but returns the body taken apart: the text of its message and,
// if it has the binary form, a payload that is not nil. Before it reads a payload of
// placeBytes or more it asks place, unless that is nil, where to put it; if the answer is
// nil it keeps the payload itself. A binary form that contradicts itself gives an error
// wrapping ErrProtocol.
func (f *FrameReader) NextParts(place func(text []byte, payloadBytes int) []byte) (text, payload []byte, err error) {
	length, err := f.begin()
	if err != nil {
		return nil, nil, err
	}
	head := 0
	if place != nil && length >= placeBytes {
		if head, err = f.header(length); err != nil {
			return nil, nil, err
		}
	}
	if rest := length - head; head > 0 && rest >= placeBytes {
		text := f.body[wire.PrefixBytes:head:head]
		if into := place(text, rest); into != nil {
			if err := f.fill(into[:rest], head, length); err != nil {
				return nil, nil, err
			}
			return text, into[:rest:rest], nil
		}
	}
	read := len(f.body)
	f.body = grow(f.body, length)
	if err := f.fill(f.body[read:], read, length); err != nil {
		return nil, nil, err
	}
	if text, payload, err = wire.Split(f.body); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return text, payload, nil
}

// begin reads a frame's header and returns the body's length.
func (f *FrameReader) begin() (int, error) {
	if cap(f.body) > retainBytes {
		f.body = nil
	}
	f.body = f.body[:0]
	switch n, err := io.ReadFull(f.source, f.head[:]); {
	case err == io.EOF:
		return 0, io.EOF
	case err != nil:
		return 0, fmt.Errorf("process: frame header ended after %d of %d bytes: %w", n, FrameHeaderBytes, err)
	}
	length := uint64(binary.BigEndian.Uint32(f.head[:]))
	if length > uint64(max(f.limit, 0)) {
		return 0, fmt.Errorf("%w: %d bytes announced, limit %d", ErrFrameTooLarge, length, f.limit)
	}
	return int(length), nil
}

// header reads what stands before the payload in a body of the binary form into f.body,
// and returns how long that is, or 0 if the body has the plain form.
func (f *FrameReader) header(length int) (int, error) {
	prefix, err := f.source.Peek(wire.PrefixBytes)
	if err != nil {
		return 0, cutBody(len(prefix), length, err)
	}
	if prefix[0] != 0 {
		return 0, nil
	}
	header, err := wire.HeaderBytes(prefix, length)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	head := wire.PrefixBytes + header
	f.body = grow(f.body, head)
	return head, f.fill(f.body, 0, length)
}

// fill reads into part, before which so many bytes of the body have been read.
func (f *FrameReader) fill(part []byte, before, length int) error {
	if n, err := io.ReadFull(f.source, part); err != nil {
		return cutBody(before+n, length, err)
	}
	return nil
}

func cutBody(read, length int, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("process: frame body ended after %d of %d bytes: %w", read, length, err)
}

// grow returns a slice of so many bytes that begins with what body holds.
func grow(body []byte, length int) []byte {
	if cap(body) >= length {
		return body[:length]
	}
	larger := make([]byte, length)
	copy(larger, body)
	return larger
}
