package mirror

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"hadir/attendance"
	"hadir/store"
)

// ErrForeign says that a copy was not made by this cluster, or was changed.
var ErrForeign = errors.New("the copy was not made by this cluster")

// The payload of a task: version, whether it is an orphan, code, entry. The code
// covers everything else and the cluster's id.
const (
	payloadVersion = 1
	payloadHead    = 2 + sha256.Size
)

func code(key []byte, cluster attendance.ClusterID, head, entry []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("hadir-mirror-1"))
	h.Write(cluster[:])
	h.Write(head)
	h.Write(entry)
	return h.Sum(nil)
}

// Seal makes the payload of an entry. It is the same each time.
func Seal(key []byte, cluster attendance.ClusterID, e store.OutboxEntry, orphan bool) ([]byte, error) {
	entry, err := e.Encode()
	if err != nil {
		return nil, err
	}
	head := []byte{payloadVersion, 0}
	if orphan {
		head[1] = 1
	}
	out := append(make([]byte, 0, payloadHead+len(entry)), head...)
	out = append(out, code(key, cluster, head, entry)...)
	return append(out, entry...), nil
}

// Open reads a payload that was sealed under any of the keys.
func Open(keys [][]byte, cluster attendance.ClusterID, payload []byte) (e store.OutboxEntry, orphan bool, err error) {
	if len(payload) < payloadHead || payload[0] != payloadVersion || payload[1] > 1 {
		return e, false, fmt.Errorf("%w: it has another form", ErrForeign)
	}
	head, mac, entry := payload[:2], payload[2:payloadHead], payload[payloadHead:]
	for _, key := range keys {
		if hmac.Equal(mac, code(key, cluster, head, entry)) {
			e, err = store.DecodeOutboxEntry(entry)
			return e, head[1] == 1, err
		}
	}
	return e, false, fmt.Errorf("%w: its code is wrong", ErrForeign)
}

// taskID names the task of a check-in: two principals never share one.
func taskID(p attendance.Principal, key string) string {
	h := sha256.New()
	var b [9]byte
	b[0] = byte(p.Kind)
	binary.BigEndian.PutUint64(b[1:], p.ID)
	h.Write(b[:])
	h.Write([]byte(key))
	return hex.EncodeToString(h.Sum(nil))
}
