package stream

import "fmt"

// Topic is something to subscribe to.
type Topic uint8

// The topics.
const (
	Attendance Topic = iota // numbered events
	Totals                  // what the events come to, for those who do not get all of them
	Cluster
	Presence
	Queue
	Pending
	Progress
	topics
)

var topicNames = [topics]string{"attendance", "totals", "cluster", "presence", "queue", "pending", "progress"}

// String gives the word of the topic, which is also the t of its frames. The
// frames of Attendance are called event and mark.
func (t Topic) String() string {
	if t >= topics {
		return fmt.Sprintf("unknown(%d)", uint8(t))
	}
	return topicNames[t]
}

// ParseTopic is the inverse of String.
func ParseTopic(s string) (Topic, bool) {
	for i, name := range topicNames {
		if name == s {
			return Topic(i), true
		}
	}
	return 0, false
}

// Topics is a set of topics.
type Topics uint8

// With gives the set with one more.
func (s Topics) With(t Topic) Topics { return s | 1<<t }

// Has reports whether a topic is in the set.
func (s Topics) Has(t Topic) bool { return s&(1<<t) != 0 }

// Audience says what somebody may see, at one moment. It is never changed.
type Audience struct {
	// All says that nothing is out of sight.
	All bool
	// Self is the person.
	Self uint64
	// People are the others within sight, for somebody who is responsible for
	// groups; nil for somebody who cannot be.
	People map[uint64]struct{}
	// Epoch and AsOf say which history is reflected, up to which event.
	Epoch string
	AsOf  uint64
}

// Sees reports whether a person is in sight; 0 stands for what only those see who
// see everything.
func (a *Audience) Sees(user uint64) bool {
	if a.All {
		return true
	}
	if user == 0 {
		return false
	}
	if user == a.Self {
		return true
	}
	_, ok := a.People[user]
	return ok
}

// sameAs reports whether the same people are in sight.
func (a *Audience) sameAs(b *Audience) bool {
	if a.All != b.All || a.Self != b.Self || len(a.People) != len(b.People) {
		return false
	}
	for id := range a.People {
		if _, ok := b.People[id]; !ok {
			return false
		}
	}
	return true
}

// Rights says whose rights an event may have changed. The zero value is nobody's.
type Rights struct {
	Everybody bool
	Groups    bool     // those of everybody who is responsible for groups
	Users     []uint64 // and of these
}
