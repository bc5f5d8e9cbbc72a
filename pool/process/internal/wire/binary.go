package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// PrefixBytes is the size of what stands before the header in the binary form: a
	// zero byte and the header's length.
	PrefixBytes = 4
	// MaxHeaderBytes is the longest header that the prefix can announce.
	MaxHeaderBytes = 1<<24 - 1
)

// PutPrefix writes the prefix for a header of so many bytes.
func PutPrefix(prefix []byte, header int) { binary.BigEndian.PutUint32(prefix, uint32(header)) }

// HeaderBytes reads the prefix of a body that is bodyBytes long in all. It returns an
// error if the body is too short for the header.
func HeaderBytes(prefix []byte, bodyBytes int) (int, error) {
	if bodyBytes < PrefixBytes || len(prefix) < PrefixBytes {
		return 0, fmt.Errorf("binary form of %d bytes, want at least %d", bodyBytes, PrefixBytes)
	}
	header := int(binary.BigEndian.Uint32(prefix) & MaxHeaderBytes)
	if header > bodyBytes-PrefixBytes {
		return 0, fmt.Errorf("binary form announces a header of %d bytes in a body of %d", header, bodyBytes)
	}
	return header, nil
}

// Split takes a body apart into the message's text and the payload, which is nil in the
// plain form and not nil in the binary one. Both are parts of body.
func Split(body []byte) (text, payload []byte, err error) {
	if len(body) == 0 || body[0] != 0 {
		return body, nil, nil
	}
	header, err := HeaderBytes(body, len(body))
	if err != nil {
		return nil, nil, err
	}
	end := PrefixBytes + header
	return body[PrefixBytes:end:end], body[end:len(body):len(body)], nil
}
