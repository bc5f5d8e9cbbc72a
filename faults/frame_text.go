package faults

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/poolproof/poolproof/pool/process"
)

// binaryPrefixBytes is what stands before the header in the binary form of a body: a zero
// byte and the header's length.
const binaryPrefixBytes = 4

// frameSpan is a part of a frame, as offsets into it.
type frameSpan struct{ from, to int }

func (s frameSpan) bytes() int { return s.to - s.from }

// frameMember is a member of a JSON object in a frame, with its name as it is written.
type frameMember struct {
	name       string
	key, value frameSpan
}

// wireFrame is a frame taken apart, as far as it can be: one without messages holds no
// JSON object.
type wireFrame struct {
	whole    []byte
	text     frameSpan // of the JSON
	binary   bool      // the body has the binary form
	messages [][]frameMember
}

// parseFrame takes a whole frame apart.
func parseFrame(whole []byte) wireFrame {
	f := wireFrame{whole: whole, text: frameSpan{process.FrameHeaderBytes, len(whole)}}
	if body := whole[process.FrameHeaderBytes:]; len(body) > 0 && body[0] == 0 {
		f.binary = true
		if len(body) < binaryPrefixBytes {
			return f
		}
		f.text.from += binaryPrefixBytes
		header := uint64(binary.BigEndian.Uint32(body)) // the first byte is 0
		if header > uint64(len(body)-binaryPrefixBytes) {
			return f
		}
		f.text.to = f.text.from + int(header)
	}
	if !json.Valid(whole[f.text.from:f.text.to]) {
		return f
	}
	if elements, ok := scanElements(whole, f.text); ok {
		for _, element := range elements {
			f.add(element)
		}
		return f
	}
	f.add(f.text)
	return f
}

// add adds the message in a span, if there is one.
func (f *wireFrame) add(span frameSpan) {
	if members, ok := scanMembers(f.whole, span); ok {
		f.messages = append(f.messages, members)
	}
}

// scanElements returns where the elements of the JSON array in a span are.
func scanElements(whole []byte, span frameSpan) (elements []frameSpan, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(whole[span.from:span.to]))
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return nil, false
	}
	for decoder.More() {
		value, ok := scanValue(decoder, span.from)
		if !ok {
			return nil, false
		}
		elements = append(elements, value)
	}
	return elements, true
}

// scanMembers returns the members of the JSON object in a span.
func scanMembers(whole []byte, span frameSpan) (members []frameMember, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(whole[span.from:span.to]))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	for decoder.More() {
		before := span.from + int(decoder.InputOffset())
		name, err := decoder.Token()
		if err != nil {
			return nil, false
		}
		key := frameSpan{before + bytes.IndexByte(whole[before:], '"'), span.from + int(decoder.InputOffset())}
		value, ok := scanValue(decoder, span.from)
		if !ok {
			return nil, false
		}
		members = append(members, frameMember{name.(string), key, value})
	}
	return members, true
}

// scanValue reads a value and returns where it is.
func scanValue(decoder *json.Decoder, base int) (frameSpan, bool) {
	var value json.RawMessage
	if decoder.Decode(&value) != nil {
		return frameSpan{}, false
	}
	end := base + int(decoder.InputOffset())
	return frameSpan{end - len(value), end}, true
}

// member returns the first member of that name in the first message that has one.
func (f *wireFrame) member(name string) (frameMember, bool) {
	for _, members := range f.messages {
		for _, m := range members {
			if m.name == name {
				return m, true
			}
		}
	}
	return frameMember{}, false
}

// hasID reports whether the frame holds a request, a reply or a batch.
func (f *wireFrame) hasID() bool {
	_, ok := f.member("id")
	return ok
}

// version returns where the version is in a reply to hello, if the frame is one.
func (f *wireFrame) version() (frameSpan, bool) {
	result, ok := f.member("result")
	if !ok {
		return frameSpan{}, false
	}
	members, _ := scanMembers(f.whole, result.value)
	var version frameSpan
	hello := 0
	for _, m := range members {
		switch m.name {
		case "protocol":
			version = m.value
			hello++
		case "instance", "methods":
			hello++
		}
	}
	return version, hello == 3
}

// unvouched returns, in order, what the protocol says nothing about: a receiver may take
// the frame for a good one although a bit of this was flipped. It holds the values; the
// names of the members that may be absent, since members of unknown names are ignored; and
// what says in the binary form how long the payload is.
func (f *wireFrame) unvouched() (spans []frameSpan) {
	if len(f.messages) == 0 {
		return nil // nothing that could be taken for a good frame
	}
	if f.binary {
		spans = append(spans, frameSpan{0, f.text.from})
	}
	for _, members := range f.messages {
		for _, m := range members {
			switch m.name {
			case "jsonrpc", "id":
			case "method", "result", "error":
				spans = append(spans, m.value)
			default:
				spans = append(spans, frameSpan{m.key.from, m.value.to})
			}
		}
	}
	return append(spans, frameSpan{f.text.to, len(f.whole)})
}

// vouched returns the rest of the frame: whichever bit of it is flipped, a receiver that
// keeps to the protocol finds fault with the frame, or waits for more of it.
func (f *wireFrame) vouched() (spans []frameSpan) {
	at := 0
	for _, s := range f.unvouched() {
		spans = append(spans, frameSpan{at, s.from})
		at = s.to
	}
	return append(spans, frameSpan{at, len(f.whole)})
}

// flippedSpace reports whether a byte and what it is with that bit flipped are both white
// space, so that the flip means nothing: a tab and a carriage return are one bit apart.
func flippedSpace(b byte, bit int) bool { return (b == '\t' || b == '\r') && bit == 2 }

// pick returns the offset of the nth byte of spans.
func pick(spans []frameSpan, n int) int {
	for _, s := range spans {
		if n < s.bytes() {
			return s.from + n
		}
		n -= s.bytes()
	}
	panic("faults: no such byte")
}

func totalBytes(spans []frameSpan) (total int) {
	for _, s := range spans {
		total += s.bytes()
	}
	return total
}

// replaced returns the frame with a number in place of a part of its JSON, and with the
// lengths that fit.
func (f *wireFrame) replaced(part frameSpan, number uint64) []byte {
	text := strconv.AppendUint(nil, number, 10)
	whole := slices.Concat(f.whole[:part.from], text, f.whole[part.to:])
	binary.BigEndian.PutUint32(whole, uint32(len(whole)-process.FrameHeaderBytes))
	if f.binary {
		header := f.text.bytes() - part.bytes() + len(text)
		binary.BigEndian.PutUint32(whole[process.FrameHeaderBytes:], uint32(header))
	}
	return whole
}
