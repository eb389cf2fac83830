// Types that several templates share.

@export()
@description('Tags of all resources.')
type tags = { *: string }

@export()
@description('How the app is reached: by everybody, by Event Grid and the named ranges, or from a virtual network alone.')
type profile = 'public' | 'restricted' | 'private'

@export()
@description('The URLs of a storage account.')
type endpoints = {
  blob: string
  queue: string
  table: string
}

@export()
@description('App settings, by name.')
type settings = { *: string }

@export()
@description('A custom role.')
type role = {
  roleName: string
  description: string
  actions: string[]
}

@export()
@description('Names that replace those made from the environment, each optional.')
type names = {
  group: string?
  app: string?
  plan: string?
  storage: string?
  vault: string?
  workspace: string?
  insights: string?
  topic: string?
  appIdentity: string?
  packageIdentity: string?
  eventsIdentity: string?
  network: string?
}

@export()
@description('Who may delete: nobody before the lock is removed, or whoever has the right.')
type lock = 'CanNotDelete' | 'None'
