package process

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	body := len(frame) - FrameHeaderBytes
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
	header [FrameHeaderBytes]byte
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
	if cap(f.body) > retainBytes {
		f.body = nil
	}
	switch n, err := io.ReadFull(f.source, f.header[:]); {
	case err == io.EOF:
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("process: frame header ended after %d of %d bytes: %w", n, FrameHeaderBytes, err)
	}
	length := uint64(binary.BigEndian.Uint32(f.header[:]))
	if length > uint64(max(f.limit, 0)) {
		return nil, fmt.Errorf("%w: %d bytes announced, limit %d", ErrFrameTooLarge, length, f.limit)
	}
	if uint64(cap(f.body)) < length {
		f.body = make([]byte, length)
	}
	f.body = f.body[:length]
	if n, err := io.ReadFull(f.source, f.body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("process: frame body ended after %d of %d bytes: %w", n, length, err)
	}
	return f.body, nil
}
