// Reads a Kusto query from standard input and prints what Microsoft's own parser says against it, with the columns of
// Resource Graph's tables and of Log Analytics' table Heartbeat known. The first argument is the folder of @kusto/language-service-next.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) require(join(process.argv[2], file));
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

const texts = "id name type tenantId kind location resourceGroup subscriptionId managedBy".split(" ");
const values = "sku plan properties tags identity zones extendedLocation".split(" ");
const columns = [...texts.map((name) => `['${name}']:string`), ...values.map((name) => `['${name}']:dynamic`)].join(", ");
const tables = ["resources", "insightsresources", "resourcecontainers"].map((name) => Symbols.TableSymbol.From(`(${columns})`).WithName(name));
const heartbeat = "TimeGenerated:datetime, Category:string, Computer:string, _ResourceId:string";
tables.push(Symbols.TableSymbol.From(`(${heartbeat})`).WithName("Heartbeat"));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("graph", tables));

const found = KustoCode.ParseAndAnalyze(readFileSync(0, "utf8"), globals).GetDiagnostics();
const messages = Array.from({ length: found.Count }, (_, index) => found.getItem(index).Message);
console.log(JSON.stringify(messages));
