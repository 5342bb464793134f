"""Users, products, orders and charges."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE users (
        id bigint PRIMARY KEY,
        name text NOT NULL,
        email text NOT NULL UNIQUE
    )
    """,
    """
    CREATE TABLE products (
        id bigint PRIMARY KEY,
        name text NOT NULL,
        price_cents bigint NOT NULL CHECK (price_cents > 0),
        stock bigint NOT NULL CHECK (stock >= 0)
    )
    """,
    # Stock is the one column that changes all the time: room on each page lets the new row version stay on it, so that
    # no index has to be touched.
    "ALTER TABLE products SET (fillfactor = 80)",
    """
    CREATE TABLE orders (
        id uuid PRIMARY KEY,
        user_id bigint NOT NULL REFERENCES users,
        status text NOT NULL CHECK (status IN ('placed', 'fulfilled')),
        total_cents bigint NOT NULL CHECK (total_cents > 0),
        currency text NOT NULL,
        created_at timestamptz NOT NULL,
        fulfilled_at timestamptz,
        CHECK ((status = 'fulfilled') = (fulfilled_at IS NOT NULL))
    )
    """,
    "CREATE INDEX orders_by_user ON orders (user_id, created_at)",
    """
    CREATE TABLE order_items (
        order_id uuid NOT NULL REFERENCES orders ON DELETE CASCADE,
        product_id bigint NOT NULL REFERENCES products,
        quantity integer NOT NULL CHECK (quantity > 0),
        unit_price_cents bigint NOT NULL CHECK (unit_price_cents > 0),
        PRIMARY KEY (order_id, product_id)
    )
    """,
    # Stock taken for an order that is being paid for. The order does not exist yet, so there is nothing to refer to.
    """
    CREATE TABLE stock_reservations (
        order_id uuid NOT NULL,
        product_id bigint NOT NULL REFERENCES products,
        quantity integer NOT NULL CHECK (quantity > 0),
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (order_id, product_id)
    )
    """,
    "CREATE INDEX stock_reservations_by_age ON stock_reservations (created_at)",
    "CREATE SCHEMA payments",
    """
    CREATE TABLE payments.charges (
        order_id uuid PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        amount_cents bigint NOT NULL CHECK (amount_cents > 0),
        currency text NOT NULL,
        status text NOT NULL CHECK (status IN ('captured', 'refused')),
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    """Create the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    op.execute("DROP SCHEMA payments CASCADE")
    op.execute("DROP TABLE stock_reservations, order_items, orders, products, users")
