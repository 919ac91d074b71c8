package operator

import "context"

// Operation says what a request is about.
type Operation int16

// Operations; the numbers are on the wire.
const (
	OpStatus         Operation = 1
	OpSwitchover     Operation = 2
	OpFailover       Operation = 3
	OpAbort          Operation = 4
	OpProgress       Operation = 5
	OpHistory        Operation = 6
	OpLostList       Operation = 7
	OpLostShow       Operation = 8
	OpLostRemove     Operation = 9
	OpVerify         Operation = 10
	OpVerifyProgress Operation = 11
	OpUndelete       Operation = 12
	OpVerifySum      Operation = 13
	OpRecopy         Operation = 14
	OpLineage        Operation = 15
	OpProducerIDs    Operation = 16
)

// DR carries out what the operator asks, for both sites: what this one cannot answer it asks the other one. Safe for concurrent use.
// Errors: an *Error says what to do next; any other is one that nobody foresaw.
type DR interface {
	// Status is how the two sites stand.
	Status(ctx context.Context) (Status, error)
	// Switchover and Failover begin to make another site the active one, and return once that is under way, or will not be. With DryRun
	// they only say what would happen (Order.Plan). An order whose ID is known is not begun again.
	Switchover(ctx context.Context, o SwitchoverOrder) (Order, error)
	Failover(ctx context.Context, o FailoverOrder) (Order, error)
	// Abort gives up the order that is going on.
	Abort(ctx context.Context) (Order, error)
	// Progress is how an order stands; "" = the newest. Error: CodeFailed where nobody knows it.
	Progress(ctx context.Context, id string) (Order, error)
	// History is what has happened to the roles, the oldest first.
	History(ctx context.Context) (History, error)

	// LostList has the archives of both sites. LostShow reads one, from a place on.
	LostList(ctx context.Context) (LostList, error)
	LostShow(ctx context.Context, from LostPlace) (LostPage, error)
	LostRemove(ctx context.Context, archive LostPlace) error

	// Verify begins to compare the two sites; VerifyProgress is how that stands.
	Verify(ctx context.Context, o VerifyOrder) (Verification, error)
	VerifyProgress(ctx context.Context, id string) (Verification, error)
	// VerifySum is asked by the other site when it compares: of this site's log.
	VerifySum(ctx context.Context, r VerifyRange) (VerifySum, error)

	// Undelete takes back the deletion of a topic that was not carried out at the standby yet (dr.delete.delay.ms).
	Undelete(ctx context.Context, topic string) error

	// Recopy has the standby drop a partition and copy it whole from the active. What only the standby has is archived. It returns when that
	// has begun; the status says when the copy is whole. With DryRun it only says what would happen.
	Recopy(ctx context.Context, o RecopyOrder) (Recopied, error)
	// Lineage is asked by the other site.
	Lineage(ctx context.Context, q LineageQuestion) (LineageAnswer, error)
	// ProducerIDs is asked by the other site, for clients that begin there.
	ProducerIDs(ctx context.Context) (ProducerIDs, error)
}
