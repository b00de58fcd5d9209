package stream

import "encoding/binary"

// Kinds of WebSocket frames, each with the bit that says that it is whole.
const (
	textFrame  = 0x80 | 1
	closeFrame = 0x80 | 8
	pingFrame  = 0x80 | 9
	pongFrame  = 0x80 | 10
)

const maxHeader = 10 // of a frame from a server, which has no mask

// appendFrame adds a frame as a server sends it: the same bytes to everybody.
func appendFrame(dst []byte, kind byte, payload []byte) []byte {
	return append(appendHeader(dst, kind, len(payload)), payload...)
}

func appendHeader(dst []byte, kind byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, kind, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, kind, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, kind, 127), uint64(n))
	}
}

// appendClose adds a close frame.
func appendClose(dst []byte, code Code, reason string) []byte {
	payload := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reason)), uint16(code))
	return appendFrame(dst, closeFrame, append(payload, reason...))
}

// frameLen gives the length of the frame at the beginning of b.
func frameLen(b []byte) int {
	switch n := int(b[1]); n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return maxHeader + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + n
	}
}

// boundary gives the first end of a frame at or after n bytes of b, which begins
// with a frame and ends with one.
func boundary(b []byte, n int) int {
	end := 0
	for end < n {
		end += frameLen(b[end:])
	}
	return end
}

// textOf gives a frame {"t":name,"data":data}; data is JSON.
func textOf(name string, data []byte) []byte {
	text := make([]byte, 0, len(data)+len(name)+20)
	text = append(text, `{"t":"`...)
	text = append(text, name...)
	text = append(text, `","data":`...)
	text = append(text, data...)
	text = append(text, '}')
	return appendFrame(nil, textFrame, text)
}
