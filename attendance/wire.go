package attendance

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"hadir/attendance/pb"
)

// Errors of DecodeEntry. Each of them, met in a committed entry, stops the node.
var (
	// ErrUnknownLevel: the entry needs a newer binary.
	ErrUnknownLevel = errors.New("unknown command level")
	// ErrUnknownOp: the entry holds an operation that this binary does not know.
	ErrUnknownOp = errors.New("unknown operation")
	// ErrMalformed: the bytes are no entry, or break a limit.
	ErrMalformed = errors.New("malformed entry")
)

type message = proto.Message

var marshal = proto.MarshalOptions{Deterministic: true}

// EncodeEntry gives the bytes that are proposed. It refuses what DecodeEntry
// would refuse, so nothing undecodable can be committed by this binary.
func EncodeEntry(e Entry) ([]byte, error) {
	m := &pb.Entry{Level: e.Level, ClusterId: e.Cluster[:], ProposedAtMs: int64(e.ProposedAt)}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m.Commands = make([]*pb.Command, len(e.Commands))
	for i, c := range e.Commands {
		w, err := c.wire()
		if err != nil {
			return nil, fmt.Errorf("%w: command %d: %w", ErrMalformed, i, err)
		}
		m.Commands[i] = w
	}
	b, err := marshal.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(b) > MaxEntryBytes {
		return nil, fmt.Errorf("%w: entry of %d bytes is over %d", ErrMalformed, len(b), MaxEntryBytes)
	}
	return b, nil
}

// DecodeEntry reads what EncodeEntry wrote. Unknown fields, operations and
// levels, broken limits and values out of range are errors. Of the forms that
// protobuf allows for one value it takes any, which is harmless, since nothing
// hashes it. Memory is bounded by a small multiple of len(b).
func DecodeEntry(b []byte) (Entry, error) {
	level, err := scan(b)
	// The level comes first: of a newer entry nothing else can be judged.
	if level > uint64(Level) {
		return Entry{}, fmt.Errorf("%w %d: this binary knows levels up to %d", ErrUnknownLevel, level, Level)
	}
	if err != nil {
		return Entry{}, err
	}
	if len(b) > MaxEntryBytes {
		return Entry{}, fmt.Errorf("%w: %d bytes is over %d", ErrMalformed, len(b), MaxEntryBytes)
	}
	var m pb.Entry
	if err := proto.Unmarshal(b, &m); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 || len(m.ClusterId) != ClusterIDBytes {
		return Entry{}, fmt.Errorf("%w: unknown fields or no cluster id", ErrMalformed)
	}
	e := Entry{
		Level: m.Level, Cluster: ClusterID(m.ClusterId), ProposedAt: Millis(m.ProposedAtMs),
		Commands: make([]Command, len(m.Commands)),
	}
	for i, w := range m.Commands {
		c, err := fromWire(w)
		if err != nil {
			return Entry{}, fmt.Errorf("command %d: %w", i, err)
		}
		e.Commands[i] = c
	}
	if err := e.check(); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// Size gives the bytes that the command takes in an entry, or what is wrong
// with it. The collector packs by it.
func (c Command) Size() (int, error) {
	w, err := c.wire()
	if err != nil {
		return 0, err
	}
	// Field tag and length in front of the message: 1 + at most 2 bytes.
	return proto.Size(w) + 3, nil
}

// EncodeCommand gives the bytes of one command, for the way from the node that
// received it to the leader.
func EncodeCommand(c Command) ([]byte, error) {
	w, err := c.wire()
	if err != nil {
		return nil, err
	}
	return marshal.Marshal(w)
}

// DecodeCommand reads what EncodeCommand wrote, as strictly as DecodeEntry.
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > MaxCommandBytes {
		return Command{}, fmt.Errorf("%w: command of %d bytes", ErrMalformed, len(b))
	}
	var w pb.Command
	if err := proto.Unmarshal(b, &w); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return fromWire(&w)
}

// scan reads the level of an entry and counts its commands before anything is
// unpacked: an entry of a newer level may break today's limits, and 65 000 empty
// commands fit in an entry's bytes but take 60 times as much memory.
func scan(b []byte) (level uint64, err error) {
	broken := func(code int) (uint64, error) {
		return level, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(code))
	}
	for n := 0; len(b) > 0; {
		num, typ, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return broken(tag)
		}
		size := protowire.ConsumeFieldValue(num, typ, b[tag:])
		if size < 0 {
			return broken(size)
		}
		switch value := b[tag : tag+size]; {
		case num == fieldLevel && typ == protowire.VarintType:
			level, _ = protowire.ConsumeVarint(value)
		case num == fieldCommands && typ == protowire.BytesType:
			command, _ := protowire.ConsumeBytes(value)
			if n++; err == nil && (n > MaxCommands || len(command) > MaxCommandBytes) {
				err = fmt.Errorf("%w: more than %d commands, or one over %d bytes", ErrMalformed, MaxCommands, MaxCommandBytes)
			}
		}
		b = b[tag+size:]
	}
	return level, err
}

// Field numbers of pb.Entry that scan looks at.
const (
	fieldLevel    = 1
	fieldCommands = 4
)

func (e Entry) check() error {
	switch {
	case e.Level == 0 || e.Level > Level:
		return fmt.Errorf("level %d is not within 1 … %d", e.Level, Level)
	case e.Cluster.IsZero():
		return errors.New("no cluster id")
	case !inRange(e.ProposedAt):
		return errors.New("proposal time is out of range")
	case len(e.Commands) == 0 || len(e.Commands) > MaxCommands:
		return fmt.Errorf("%d commands, not 1 … %d", len(e.Commands), MaxCommands)
	}
	return nil
}

func (c Command) wire() (*pb.Command, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	body, err := marshal.Marshal(c.Body.wire())
	if err != nil {
		return nil, err
	}
	w := &pb.Command{
		Op: pb.Op(c.Body.Op()), PrincipalKind: uint32(c.Principal.Kind), PrincipalId: c.Principal.ID,
		Key: c.Key, NodeId: c.Node, Body: body,
	}
	if n := proto.Size(w); n > MaxCommandBytes {
		return nil, fmt.Errorf("%s of %d bytes is over %d", c.Body.Op(), n, MaxCommandBytes)
	}
	return w, nil
}

func fromWire(w *pb.Command) (Command, error) {
	if w.Op <= 0 || w.Op > 255 || decoders[Op(w.Op)] == nil {
		return Command{}, fmt.Errorf("%w %d", ErrUnknownOp, w.Op)
	}
	if len(w.ProtoReflect().GetUnknown()) > 0 || w.PrincipalKind > 255 {
		return Command{}, fmt.Errorf("%w: unknown fields", ErrMalformed)
	}
	body, err := decoders[Op(w.Op)](w.Body)
	if err != nil {
		return Command{}, fmt.Errorf("%w: %s: %w", ErrMalformed, Op(w.Op), err)
	}
	c := Command{
		Principal: Principal{Kind: PrincipalKind(w.PrincipalKind), ID: w.PrincipalId},
		Key:       w.Key, Node: w.NodeId, Body: body,
	}
	if err := c.Check(); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// decoders has one function for each operation.
var decoders = map[Op]func([]byte) (Body, error){
	OpCheckIn: decoder(func(m *pb.CheckIn) (Body, error) {
		if m.Type > 255 || m.LocationError > 255 {
			return nil, errNarrow
		}
		return CheckIn{
			UserID: m.UserId, Kind: Kind(m.Type),
			Location: Location{
				Known: m.HasLocation, LatE7: m.LatitudeE7, LonE7: m.LongitudeE7,
				AccuracyCM: m.AccuracyCm, Error: LocationError(m.LocationError),
			},
			ClientTime: Millis(m.ClientTimeMs), Offline: m.Offline, ClaimTrusted: m.ClaimTrusted,
			Age: Millis(m.AgeMs), WallClock: m.WallClock, ReceivedAt: Millis(m.ReceivedAtMs), Recorded: m.Recorded,
		}, nil
	}),
	OpPutUser: decoder(func(m *pb.PutUser) (Body, error) {
		if m.Role > 255 {
			return nil, errNarrow
		}
		return PutUser{
			UserID: m.UserId, Name: m.Name, Email: m.Email, Role: Role(m.Role), Active: m.Active,
			PasswordHash: m.PasswordHash,
		}, nil
	}),
	OpDeactivateUser: decoder(func(m *pb.DeactivateUser) (Body, error) { return DeactivateUser{UserID: m.UserId}, nil }),
	OpSetPassword: decoder(func(m *pb.SetPassword) (Body, error) {
		return SetPassword{UserID: m.UserId, PasswordHash: m.PasswordHash}, nil
	}),
	OpPutGroup: decoder(func(m *pb.PutGroup) (Body, error) {
		if m.Kind > 255 {
			return nil, errNarrow
		}
		return PutGroup{
			GroupID: m.GroupId, Name: m.Name, Kind: GroupKind(m.Kind), AddMembers: m.AddMembers,
			RemoveMembers: m.RemoveMembers, AddTeachers: m.AddTeachers, RemoveTeachers: m.RemoveTeachers,
		}, nil
	}),
	OpDeleteGroup: decoder(func(m *pb.DeleteGroup) (Body, error) { return DeleteGroup{GroupID: m.GroupId}, nil }),
	OpSetParams: decoder(func(m *pb.SetParams) (Body, error) {
		p := Params{
			Window: Millis(m.WindowMs), Skew: Millis(m.SkewMs), Deferral: Millis(m.DeferralMs),
			KeyRetention: Millis(m.KeyRetentionMs), ExportMargin: m.ExportMargin, Zone: Zone{Name: m.ZoneName},
		}
		if len(m.ZoneFromMs) != len(m.ZoneOffsetS) || len(m.ZoneFromMs) > MaxZoneChanges {
			return nil, errNarrow
		}
		for i, from := range m.ZoneFromMs {
			p.Zone.Changes = append(p.Zone.Changes, ZoneChange{From: Millis(from), OffsetS: m.ZoneOffsetS[i]})
		}
		return SetParams{Params: p}, nil
	}),
	OpSetClock: decoder(func(m *pb.SetClock) (Body, error) { return SetClock{Clock: Millis(m.ClockMs)}, nil }),
	OpSetLevel: decoder(func(m *pb.SetLevel) (Body, error) { return SetLevel{Level: m.Level}, nil }),
	OpRotateSecret: decoder(func(m *pb.RotateSecret) (Body, error) {
		return RotateSecret{Name: m.Name, Value: m.Value, DropPrevious: m.DropPrevious}, nil
	}),
	OpBumpSessionEpoch: decoder(func(m *pb.BumpSessionEpoch) (Body, error) { return BumpSessionEpoch{UserID: m.UserId}, nil }),
	OpExportMark: decoder(func(m *pb.ExportMark) (Body, error) {
		return ExportMark{Target: m.Target, Seq: m.Seq, Retired: m.Retired}, nil
	}),
	OpResolve: decoder(func(m *pb.Resolve) (Body, error) { return Resolve{Seq: m.Seq, Accept: m.Accept, Note: m.Note}, nil }),
	OpPrune: decoder(func(m *pb.Prune) (Body, error) {
		return Prune{Floor: Millis(m.FloorMs), ThroughSeq: m.ThroughSeq}, nil
	}),
	OpVerify: decoder(func(m *pb.Verify) (Body, error) {
		if len(m.Hash) != len(Hash{}) {
			return nil, errNarrow
		}
		return Verify{Seq: m.Seq, Hash: Hash(m.Hash)}, nil
	}),
	OpPutToken: decoder(func(m *pb.PutToken) (Body, error) {
		return PutToken{TokenID: m.TokenId, Name: m.Name, Hash: m.Hash, Groups: m.GroupIds}, nil
	}),
	OpRevokeToken: decoder(func(m *pb.RevokeToken) (Body, error) { return RevokeToken{TokenID: m.TokenId}, nil }),
	OpAudit: decoder(func(m *pb.Audit) (Body, error) {
		return Audit{Action: m.Action, Subject: m.Subject, Note: m.Note}, nil
	}),
}

var (
	errNarrow        = errors.New("a number is out of range")
	errUnknownFields = errors.New("unknown fields")
)

// decoder makes the function that reads one kind of body.
func decoder[M any, P interface {
	*M
	message
}](convert func(P) (Body, error)) func([]byte) (Body, error) {
	return func(b []byte) (Body, error) {
		m := P(new(M))
		if err := proto.Unmarshal(b, m); err != nil {
			return nil, err
		}
		if len(m.ProtoReflect().GetUnknown()) > 0 {
			return nil, errUnknownFields
		}
		return convert(m)
	}
}

func (b CheckIn) wire() message {
	return &pb.CheckIn{
		UserId: b.UserID, Type: uint32(b.Kind), HasLocation: b.Location.Known, LatitudeE7: b.Location.LatE7,
		LongitudeE7: b.Location.LonE7, AccuracyCm: b.Location.AccuracyCM, LocationError: uint32(b.Location.Error),
		ClientTimeMs: int64(b.ClientTime), Offline: b.Offline, ClaimTrusted: b.ClaimTrusted, AgeMs: int64(b.Age),
		WallClock: b.WallClock, ReceivedAtMs: int64(b.ReceivedAt), Recorded: b.Recorded,
	}
}

func (b PutUser) wire() message {
	return &pb.PutUser{
		UserId: b.UserID, Name: b.Name, Email: b.Email, Role: uint32(b.Role), Active: b.Active, PasswordHash: b.PasswordHash,
	}
}

func (b DeactivateUser) wire() message { return &pb.DeactivateUser{UserId: b.UserID} }

func (b SetPassword) wire() message {
	return &pb.SetPassword{UserId: b.UserID, PasswordHash: b.PasswordHash}
}

func (b PutGroup) wire() message {
	return &pb.PutGroup{
		GroupId: b.GroupID, Name: b.Name, Kind: uint32(b.Kind), AddMembers: b.AddMembers,
		RemoveMembers: b.RemoveMembers, AddTeachers: b.AddTeachers, RemoveTeachers: b.RemoveTeachers,
	}
}

func (b DeleteGroup) wire() message { return &pb.DeleteGroup{GroupId: b.GroupID} }

func (b SetParams) wire() message {
	m := &pb.SetParams{
		WindowMs: int64(b.Params.Window), SkewMs: int64(b.Params.Skew), DeferralMs: int64(b.Params.Deferral),
		KeyRetentionMs: int64(b.Params.KeyRetention), ExportMargin: b.Params.ExportMargin, ZoneName: b.Params.Zone.Name,
	}
	for _, c := range b.Params.Zone.Changes {
		m.ZoneFromMs = append(m.ZoneFromMs, int64(c.From))
		m.ZoneOffsetS = append(m.ZoneOffsetS, c.OffsetS)
	}
	return m
}

func (b SetClock) wire() message { return &pb.SetClock{ClockMs: int64(b.Clock)} }
func (b SetLevel) wire() message { return &pb.SetLevel{Level: b.Level} }

func (b RotateSecret) wire() message {
	return &pb.RotateSecret{Name: b.Name, Value: b.Value, DropPrevious: b.DropPrevious}
}

func (b BumpSessionEpoch) wire() message { return &pb.BumpSessionEpoch{UserId: b.UserID} }

func (b ExportMark) wire() message {
	return &pb.ExportMark{Target: b.Target, Seq: b.Seq, Retired: b.Retired}
}

func (b Resolve) wire() message { return &pb.Resolve{Seq: b.Seq, Accept: b.Accept, Note: b.Note} }

func (b Prune) wire() message {
	return &pb.Prune{FloorMs: int64(b.Floor), ThroughSeq: b.ThroughSeq}
}

func (b Verify) wire() message { return &pb.Verify{Seq: b.Seq, Hash: b.Hash[:]} }

func (b PutToken) wire() message {
	return &pb.PutToken{TokenId: b.TokenID, Name: b.Name, Hash: b.Hash, GroupIds: b.Groups}
}

func (b RevokeToken) wire() message { return &pb.RevokeToken{TokenId: b.TokenID} }

func (b Audit) wire() message {
	return &pb.Audit{Action: b.Action, Subject: b.Subject, Note: b.Note}
}
