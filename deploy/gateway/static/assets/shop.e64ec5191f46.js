// The first page of the catalogue, as anybody may read it.
const list = document.querySelector("#products");
fetch("/v2/products?limit=10")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
  .then(({ items }) => {
    list.replaceChildren(...items.map(({ name, price }) => {
      const entry = document.createElement("li");
      const amount = new Intl.NumberFormat(undefined, { style: "currency", currency: price.currency });
      entry.textContent = `${name}, ${amount.format(price.cents / 100)}`;
      return entry;
    }));
  })
  .catch((reason) => { list.textContent = `The catalogue does not answer (${reason}).`; });
